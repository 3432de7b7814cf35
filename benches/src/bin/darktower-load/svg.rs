//! Line charts as SVG, side by side.

use std::fmt::Write as _;

/// Points joined by lines.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// One pair of axes, both from zero.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) x_label: String,
    pub(crate) y_label: String,
    pub(crate) series: Vec<Series>,
}

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 400.0;
/// Around the plot: left holds the labels of the y axis, bottom those of the x axis and the legend.
const LEFT: f64 = 72.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 84.0;
const SUBTITLE_HEIGHT: f64 = 34.0;
/// Labels an axis has, about.
const TICKS: f64 = 6.0;
/// Blue, orange, green: told apart by those who see red and green alike, and by their shapes.
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

/// A whole SVG document: the subtitle, then the charts next to each other.
pub(crate) fn page(subtitle: &str, charts: &[Chart]) -> String {
    let (width, height) = (WIDTH * charts.len() as f64, HEIGHT + SUBTITLE_HEIGHT);
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13" fill="#222">
<rect width="100%" height="100%" fill="#fff"/>
<text x="{}" y="22" font-size="12" fill="#555">{}</text>
"##,
        LEFT / 2.0,
        escaped(subtitle)
    );
    for (number, chart) in charts.iter().enumerate() {
        let _ = writeln!(svg, r#"<g transform="translate({},{SUBTITLE_HEIGHT})">"#, WIDTH * number as f64);
        chart.draw(&mut svg);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

impl Chart {
    fn draw(&self, svg: &mut String) {
        let largest = |of: fn(&(f64, f64)) -> f64| {
            self.series.iter().flat_map(|series| &series.points).map(of).fold(0.0, f64::max)
        };
        let (x_step, x_end) = axis(largest(|point| point.0));
        let (y_step, y_end) = axis(largest(|point| point.1));
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let x = |value: f64| LEFT + value / x_end * (right - LEFT);
        let y = |value: f64| bottom - value / y_end * (bottom - TOP);

        let _ = writeln!(
            svg,
            r#"<text x="{LEFT}" y="24" font-size="16" font-weight="bold">{}</text>"#,
            escaped(&self.title)
        );
        let mut value = 0.0;
        while value <= y_end * 1.000_1 {
            let at = y(value);
            let _ = writeln!(
                svg,
                r##"<line x1="{LEFT}" y1="{at:.1}" x2="{right}" y2="{at:.1}" stroke="#ddd"/><text x="{}" y="{:.1}" text-anchor="end">{}</text>"##,
                LEFT - 8.0,
                at + 4.5,
                label(value, y_step)
            );
            value += y_step;
        }
        let mut value = 0.0;
        while value <= x_end * 1.000_1 {
            let at = x(value);
            let _ = writeln!(
                svg,
                r##"<line x1="{at:.1}" y1="{bottom}" x2="{at:.1}" y2="{}" stroke="#222"/><text x="{at:.1}" y="{}" text-anchor="middle">{}</text>"##,
                bottom + 5.0,
                bottom + 20.0,
                label(value, x_step)
            );
            value += x_step;
        }
        let middle = f64::midpoint(TOP, bottom);
        let _ = writeln!(
            svg,
            r##"<path d="M{LEFT},{TOP} V{bottom} H{right}" fill="none" stroke="#222"/><text x="{}" y="{}" text-anchor="middle">{}</text><text transform="translate(20,{middle}) rotate(-90)" text-anchor="middle">{}</text>"##,
            f64::midpoint(LEFT, right),
            bottom + 40.0,
            escaped(&self.x_label),
            escaped(&self.y_label)
        );
        let mut legend = LEFT;
        let drawn = self.series.iter().filter(|series| !series.points.is_empty());
        for (series, (number, colour)) in drawn.zip(COLOURS.iter().enumerate().cycle()) {
            let points: Vec<_> =
                series.points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
            let _ = writeln!(
                svg,
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
                points.join(" ")
            );
            for point in &series.points {
                mark(svg, number, colour, x(point.0), y(point.1));
            }
            let at = bottom + 64.0;
            mark(svg, number, colour, legend + 6.0, at - 4.5);
            let _ = writeln!(svg, r#"<text x="{}" y="{at}">{}</text>"#, legend + 18.0, escaped(&series.name));
            legend += 44.0 + series.name.chars().count() as f64 * 7.5;
        }
    }
}

/// A point, in a shape of its series.
fn mark(svg: &mut String, number: usize, colour: &str, x: f64, y: f64) {
    let _ = match number {
        0 => writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{colour}"/>"#),
        1 => writeln!(
            svg,
            r#"<rect x="{:.1}" y="{:.1}" width="8" height="8" fill="{colour}"/>"#,
            x - 4.0,
            y - 4.0
        ),
        _ => writeln!(svg, r#"<path d="M{x:.1},{:.1} l5,9 h-10 z" fill="{colour}"/>"#, y - 5.5),
    };
}

/// Distance of the labels (1, 2 or 5 times a power of ten) and end of an axis that reaches `largest`.
fn axis(largest: f64) -> (f64, f64) {
    if !largest.is_finite() || largest <= 0.0 {
        return (1.0, 1.0);
    }
    let rough = largest / TICKS;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(power * 10.0);
    (step, (largest / step).ceil() * step)
}

fn label(value: f64, step: f64) -> String {
    let digits = (-step.log10().floor()).max(0.0) as usize;
    format!("{value:.digits$}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers_beyond_the_data() {
        assert_eq!(axis(500.0), (100.0, 500.0));
        assert_eq!(axis(501.0), (100.0, 600.0));
        let (step, end) = axis(2.3);
        assert_eq!((label(step, step), label(end, step)), ("0.5".to_owned(), "2.5".to_owned()));
        assert_eq!(axis(0.0), (1.0, 1.0));
    }

    #[test]
    fn a_page_has_titles_units_and_legend_and_is_escaped() {
        let series = Series { name: "ours <1>".to_owned(), points: vec![(50.0, 2.0), (100.0, 1.5)] };
        let empty = Series { name: "absent".to_owned(), points: Vec::new() };
        let chart = Chart {
            title: "Cost & care".to_owned(),
            x_label: "subscribers".to_owned(),
            y_label: "ms".to_owned(),
            series: vec![series, empty],
        };
        let svg = page("a run", &[chart.clone(), chart]);
        for part in ["Cost &amp; care", "ours &lt;1&gt;", ">subscribers<", ">ms<", ">a run<"] {
            assert!(svg.contains(part), "{part}");
        }
        assert!(!svg.contains("absent"), "nothing to draw, nothing in the legend");
        assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
        assert_eq!(svg.matches("<polyline").count(), 2);
    }
}
