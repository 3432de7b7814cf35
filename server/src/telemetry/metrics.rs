//! Metrics for Prometheus.
//!
//! The recorder belongs to the process, because the `metrics` macros do: several servers in one process (tests) add to
//! the same counters.

use std::sync::OnceLock;
use std::time::Duration;

use ::metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::histogram;

/// Requests by route template, method and status.
pub const HTTP_REQUESTS: &str = "http_requests_total";
/// Time from the request's head to the response's head, by route template and method.
pub const HTTP_DURATION: &str = "http_request_duration_seconds";

/// From a cached answer to the request time-out, seconds.
const HTTP_BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

/// How often histograms are folded into their buckets when nobody reads them. Longer costs memory in between.
const UPKEEP: Duration = Duration::from_secs(5);

/// The recorder could not be installed; the process has another one.
#[derive(Clone, Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(String);

/// What `/metrics` answers.
#[derive(Clone, Debug)]
pub struct Exposition(PrometheusHandle);

impl Exposition {
    /// All metrics of the process in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.0.render();
        histogram::render(&mut text);
        text
    }
}

/// Installs the recorder at the first call; later calls return the same.
///
/// # Errors
/// [`MetricsError`].
pub fn install() -> Result<Exposition, MetricsError> {
    static INSTALLED: OnceLock<Result<Exposition, MetricsError>> = OnceLock::new();
    INSTALLED.get_or_init(|| install_first().map_err(|error| MetricsError(error.to_string()))).clone()
}

fn install_first() -> Result<Exposition, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(HTTP_DURATION.to_owned()), &HTTP_BUCKETS)?
        .install_recorder()?;
    describe();
    let upkeep = handle.clone();
    // A thread and not a task: it belongs to the process, like the recorder, and outlives any runtime.
    std::thread::Builder::new()
        .name("metrics-upkeep".to_owned())
        .spawn(move || {
            loop {
                std::thread::sleep(UPKEEP);
                upkeep.run_upkeep();
            }
        })
        .map_err(|error| BuildError::FailedToCreateRuntime(error.to_string()))?;
    Ok(Exposition(handle))
}

fn describe() {
    describe_counter!(
        HTTP_REQUESTS,
        Unit::Count,
        "HTTP requests answered, by route template, method and status"
    );
    describe_histogram!(HTTP_DURATION, Unit::Seconds, "Time until the head of the response was ready");
}

/// Counts one answered request. `route` must be a template, never a path, so that the number of series is bounded.
pub(crate) fn http_request(route: &str, method: &'static str, status: u16, duration: Duration) {
    let route = route.to_owned();
    counter!(HTTP_REQUESTS, "route" => route.clone(), "method" => method, "status" => status.to_string())
        .increment(1);
    histogram!(HTTP_DURATION, "route" => route, "method" => method).record(duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installs_once_and_renders() {
        let handle = install().expect("installed");
        install().expect("the same again");
        http_request("/test", "GET", 200, Duration::from_millis(3));
        let text = handle.render();
        assert!(
            text.contains("http_requests_total{route=\"/test\",method=\"GET\",status=\"200\"} 1"),
            "{text}"
        );
        assert!(text.contains("http_request_duration_seconds_bucket{route=\"/test\""), "{text}");
    }
}
