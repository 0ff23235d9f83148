//! What the server counts about itself, for `GET /metrics`.
//!
//! Promises: every metric has one row in `table`: name, kind, labels with the values they may have, help. Whoever
//! counts names the row and gives as many label values as it has labels, which the compiler checks. Values of labels come
//! from our own code or the configuration, never from a caller, so that the number of series is bounded. Counting takes
//! well under a microsecond, waits for nothing and cannot fail.
//!
//! Must not know: anything of the crate, so that every layer may count, as every layer may log. What rows know already
//! (jobs, holds, deliveries) is not counted twice: it is read when somebody asks, see [`scrape`].
//!
//! Fails: never. Before [`install`] what is counted is dropped. Tested: `tests/it/metrics*.rs` compares the table with a
//! scrape of a server that has worked, and with `docs/metrics.md`.

mod table;

use std::sync::OnceLock;
use std::time::Duration;

use ::metrics::Label as Pair;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

pub use table::*;

/// One metric.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [Label],
    /// One sentence; the unit stands at the end of the name.
    pub help: &'static str,
    /// Of a histogram: upper bounds of its buckets, growing.
    buckets: &'static [f64],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    /// As in a `# TYPE` line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A label and what bounds its values.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    pub name: &'static str,
    pub values: Values,
}

#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// These; each is shown from the start, with 0.
    Listed(&'static [&'static str]),
    /// Where they come from; shown once there is one.
    From(&'static str),
}

/// Counts up. `N` label values, in the order of the row.
#[derive(Debug)]
pub struct Counter<const N: usize>(Row);

impl<const N: usize> Counter<N> {
    pub fn increment(&self, values: [&str; N]) {
        self.add(1, values);
    }

    pub fn add(&self, count: u64, values: [&str; N]) {
        ::metrics::counter!(self.0.name, pairs(&self.0, &values)).increment(count);
    }
}

/// Goes up and down. `N` label values, in the order of the row.
#[derive(Debug)]
pub struct Gauge<const N: usize>(Row);

impl<const N: usize> Gauge<N> {
    #[allow(clippy::cast_precision_loss, reason = "a sample is a double; exact up to 9 petabytes")]
    pub fn set(&self, value: u64, values: [&str; N]) {
        self.set_f64(value as f64, values);
    }

    pub fn set_f64(&self, value: f64, values: [&str; N]) {
        ::metrics::gauge!(self.0.name, pairs(&self.0, &values)).set(value);
    }
}

impl Gauge<0> {
    /// One more for as long as the answer lives.
    #[must_use]
    pub fn hold(&'static self) -> Held {
        ::metrics::gauge!(self.0.name).increment(1);
        Held(self)
    }
}

/// Counted in a gauge until it is dropped.
#[derive(Debug)]
pub struct Held(&'static Gauge<0>);

impl Drop for Held {
    fn drop(&mut self) {
        ::metrics::gauge!(self.0.0.name).decrement(1);
    }
}

/// Sorts measurements into buckets. `N` label values, in the order of the row.
#[derive(Debug)]
pub struct Histogram<const N: usize>(Row);

impl<const N: usize> Histogram<N> {
    pub fn observe(&self, duration: Duration, values: [&str; N]) {
        self.observe_f64(duration.as_secs_f64(), values);
    }

    pub fn observe_f64(&self, value: f64, values: [&str; N]) {
        ::metrics::histogram!(self.0.name, pairs(&self.0, &values)).record(value);
    }
}

fn pairs(row: &Row, values: &[&str]) -> Vec<Pair> {
    row.labels.iter().zip(values).map(|(label, value)| Pair::new(label.name, (*value).to_owned())).collect()
}

/// What was counted in this process. One for all, as with logging.
static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();

/// Counts from now on; a second call changes nothing.
pub fn install() {
    INSTALLED.get_or_init(|| {
        let recorder = recorder();
        let handle = recorder.handle();
        // somebody else's recorder would get what is ours: only a program that embeds us can have one, and chose that
        let _ = ::metrics::set_global_recorder(recorder);
        show_from_the_start();
        handle
    });
}

/// Sorts what was measured since the last call into its buckets, which bounds the memory it takes. To be called every
/// minute or so; a scrape does it too.
pub fn upkeep() {
    if let Some(installed) = INSTALLED.get() {
        installed.run_upkeep();
    }
}

/// Everything in the text format of Prometheus. `now` sets the gauges that are not kept but looked up; what it does not
/// set is not shown, so that a hold that is gone leaves no trace.
pub fn scrape(now: impl FnOnce()) -> String {
    let moment = recorder();
    ::metrics::with_local_recorder(&moment, now);
    let mut text = INSTALLED.get().map(PrometheusHandle::render).unwrap_or_default();
    text.push_str(&moment.handle().render());
    text
}

fn recorder() -> PrometheusRecorder {
    let histograms = ALL.iter().filter(|row| !row.buckets.is_empty());
    let builder = histograms.fold(PrometheusBuilder::new(), |builder, row| {
        let known = Matcher::Full(row.name.to_owned());
        builder
            .set_buckets_for_metric(known, row.buckets)
            .expect("the buckets of the table are not empty: they are filtered")
    });
    let recorder = builder.build_recorder();
    ::metrics::with_local_recorder(&recorder, || {
        for row in ALL {
            match row.kind {
                Kind::Counter => ::metrics::describe_counter!(row.name, row.help),
                Kind::Gauge => ::metrics::describe_gauge!(row.name, row.help),
                Kind::Histogram => ::metrics::describe_histogram!(row.name, row.help),
            }
        }
    });
    recorder
}

/// A counter that appears only with its first event hides that event from every rate.
fn show_from_the_start() {
    for row in ALL {
        for values in combinations(row.labels) {
            match row.kind {
                Kind::Counter => ::metrics::counter!(row.name, pairs(row, &values)).increment(0),
                Kind::Histogram => drop(::metrics::histogram!(row.name, pairs(row, &values))),
                // looked up, or set by whoever holds one
                Kind::Gauge => {}
            }
        }
    }
}

/// Every combination of listed values; none when a label's values are not listed.
fn combinations(labels: &[Label]) -> Vec<Vec<&'static str>> {
    labels.iter().fold(vec![Vec::new()], |begun, label| match label.values {
        Values::From(_) => Vec::new(),
        Values::Listed(values) => begun
            .iter()
            .flat_map(|begun| values.iter().map(|value| [begun.as_slice(), &[*value]].concat()))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_kind_and_unit() {
        for row in ALL {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(row.name.chars().all(plain), "{}", row.name);
            assert_eq!(row.name.ends_with("_total"), row.kind == Kind::Counter, "{}", row.name);
            assert_eq!(row.buckets.is_empty(), row.kind != Kind::Histogram, "{}", row.name);
            assert!(row.buckets.is_sorted(), "{}", row.name);
            assert!(row.help.ends_with('.') && !row.help.starts_with(' '), "{}", row.name);
            let twins = ALL.iter().filter(|other| other.name == row.name).count();
            assert_eq!(twins, 1, "{}", row.name);
        }
    }

    #[test]
    fn a_scrape_shows_what_is_set_now_and_forgets_it_afterwards() {
        let text = scrape(|| HOLDS.set(1, ["claude \"x\"\n", "usage_limit"]));
        assert!(text.contains("# TYPE offshoot_holds gauge"), "{text}");
        assert!(text.contains(r#"offshoot_holds{login="claude \"x\"\n",reason="usage_limit"} 1"#), "{text}");
        assert!(!scrape(|| {}).contains("offshoot_holds"), "a hold that is gone is not shown");
    }

    #[test]
    fn listed_values_are_combined() {
        let label = |name, values| Label { name, values: Values::Listed(values) };
        let both = [label("a", &["1", "2"]), label("b", &["x"])];
        assert_eq!(combinations(&both), [["1", "x"], ["2", "x"]]);
        assert_eq!(combinations(&[]), [Vec::<&str>::new()]);
        assert!(combinations(&[Label { name: "a", values: Values::From("elsewhere") }]).is_empty());
    }
}
