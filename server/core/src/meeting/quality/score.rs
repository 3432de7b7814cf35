//! How well a network carries calls: one number, and four grades.

use std::time::Duration;

use darktower_protocol::signaling::pb::NetworkGrade;

/// Transmission rating of a call without impairments (ITU-T G.107, default values).
const BEST_RATING: f64 = 93.2;
/// One-way delay from which on people begin to talk at the same time, ms (G.107, simplified by Cole and Rosenbluth).
const TALKER_DELAY_MS: f64 = 177.3;
/// What capturing, encoding and playing add to the way, ms.
const CODEC_DELAY_MS: f64 = 40.0;
/// How well a codec conceals random loss (G.113 appendix I has 25.1 for G.711 with concealment; Opus is not worse).
const LOSS_ROBUSTNESS: f64 = 25.1;

/// Mean opinion score, 1 to 4.41, of a call whose packets take this path: `loss` is 0 to 1, `jitter` what a receiver has to
/// even out.
///
/// The E-model of ITU-T G.107 with its default values, in the simplification of Cole and Rosenbluth ("Voice over IP
/// performance monitoring", 2001): R = 93.2 − Id − Ie,eff, where Id grows with the one-way delay and Ie,eff with the loss.
pub fn mean_opinion_score(loss: f64, rtt: Duration, jitter: Duration) -> f64 {
    let millis = |duration: Duration| duration.as_secs_f64() * 1000.0;
    // A buffer of twice the jitter is what it takes.
    let delay = millis(rtt) / 2.0 + 2.0 * millis(jitter) + CODEC_DELAY_MS;
    let delay_impairment = 0.024 * delay + 0.11 * (delay - TALKER_DELAY_MS).max(0.0);
    let percent = loss.clamp(0.0, 1.0) * 100.0;
    let loss_impairment = 95.0 * percent / (percent + LOSS_ROBUSTNESS);
    let rating = (BEST_RATING - delay_impairment - loss_impairment).clamp(0.0, 100.0);
    // The cubic of G.107 annex B dips below 1 for the worst ratings.
    (1.0 + 0.035 * rating + 7e-6 * rating * (rating - 60.0) * (100.0 - rating)).max(1.0)
}

/// Grades from the best, each with the least score it takes: ratings of 80, 70 and 60 in the table of G.107 annex B
/// (satisfied; some, many dissatisfied).
const GRADES: [(NetworkGrade, f64); 4] = [
    (NetworkGrade::Excellent, 4.03),
    (NetworkGrade::Good, 3.60),
    (NetworkGrade::Fair, 3.10),
    (NetworkGrade::Poor, 0.0),
];

/// The grade of a score.
pub fn grade(score: f64) -> NetworkGrade {
    GRADES.iter().find(|(_, least)| score >= *least).map_or(NetworkGrade::Poor, |(grade, _)| *grade)
}

/// A grade changes when the score has been this far beyond its bound …
const MARGIN: f64 = 0.05;
/// … in so many samples in a row: a second each.
const SAMPLES: u32 = 3;

/// The grade of one participant, which does not flicker.
#[derive(Debug)]
pub(super) struct GradeControl {
    grade: NetworkGrade,
    /// Samples in a row that say otherwise.
    otherwise: u32,
}

impl Default for GradeControl {
    fn default() -> Self {
        Self { grade: NetworkGrade::NotMeasured, otherwise: 0 }
    }
}

impl GradeControl {
    pub(super) fn grade(&self) -> NetworkGrade {
        self.grade
    }

    /// One more score; answers whether it changes the grade.
    pub(super) fn observe(&mut self, score: f64) -> bool {
        let is_first = self.grade == NetworkGrade::NotMeasured;
        let stays = !is_first && (grade(score - MARGIN) == self.grade || grade(score + MARGIN) == self.grade);
        self.otherwise = if stays { 0 } else { self.otherwise + 1 };
        let changes = self.otherwise >= SAMPLES;
        if changes {
            self.otherwise = 0;
            self.grade = grade(score);
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn scores_are_those_of_the_model() {
        let score = |loss, rtt: u32| mean_opinion_score(loss, rtt * MS, Duration::ZERO);
        // R = 93.2 - 0.024 * 40 = 92.24.
        assert!((score(0.0, 0) - 4.39).abs() < 0.01, "{}", score(0.0, 0));
        // R = 93.2 - 0.024 * 240 - 0.11 * 62.7 = 80.5.
        assert!((score(0.0, 400) - 4.04).abs() < 0.02, "{}", score(0.0, 400));
        // 5 %: Ie,eff = 15.8, R = 76.5.
        assert!((score(0.05, 0) - 3.88).abs() < 0.03, "{}", score(0.05, 0));
        assert_eq!(score(1.0, 10_000), 1.0);
        assert!(mean_opinion_score(0.0, Duration::ZERO, 100 * MS) < score(0.0, 0));
    }

    #[test]
    fn four_grades() {
        let graded = |loss, rtt: u32| grade(mean_opinion_score(loss, rtt * MS, Duration::ZERO));
        assert_eq!(graded(0.0, 20), NetworkGrade::Excellent);
        assert_eq!(graded(0.05, 20), NetworkGrade::Good);
        assert_eq!(graded(0.10, 20), NetworkGrade::Fair);
        assert_eq!(graded(0.20, 20), NetworkGrade::Poor);
        assert_eq!(grade(f64::NAN), NetworkGrade::Poor);
    }

    #[test]
    fn a_grade_changes_when_it_has_been_otherwise_for_a_while() {
        let mut control = GradeControl::default();
        let seen: Vec<bool> =
            [4.4, 4.4, 4.4, 3.9, 3.9, 4.4, 3.9, 3.9, 3.9].map(|score| control.observe(score)).into();
        assert_eq!(seen, [false, false, true, false, false, false, false, false, true]);
        assert_eq!(control.grade(), NetworkGrade::Good);
        // About the bound it stays what it is.
        for score in [4.02, 4.06, 4.04, 4.07, 4.03, 4.06, 4.05, 4.06] {
            assert!(!control.observe(score));
        }
    }

    proptest! {
        #[test]
        fn a_worse_path_never_has_a_better_score(
            loss in 0.0..1.0_f64, more_loss in 0.0..1.0_f64, rtt in 0u32..2_000, more in 0u32..2_000, jitter in 0u32..300
        ) {
            let jitter = jitter * MS;
            let score = mean_opinion_score(loss, rtt * MS, jitter);
            prop_assert!((1.0..=4.5).contains(&score));
            prop_assert!(mean_opinion_score((loss + more_loss).min(1.0), rtt * MS, jitter) <= score + 1e-9);
            prop_assert!(mean_opinion_score(loss, (rtt + more) * MS, jitter) <= score + 1e-9);
        }
    }
}
