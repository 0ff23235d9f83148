//! Figures of several rounds, and the table that shows them.

use std::fmt;

/// One figure of each round, in the order of the rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The middle one of an odd number, the mean of the two in the middle of an even one; not a number of none.
    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        match (sorted.len(), sorted.len() / 2) {
            (0, _) => f64::NAN,
            (length, middle) if length % 2 == 1 => sorted[middle],
            (_, middle) => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// This share of the values, 0 to 1, is not above it.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let sorted = self.sorted();
        let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
        let at = (last as f64 * share).round() as usize;
        sorted[at]
    }

    pub(crate) fn count(&self) -> f64 {
        self.0.len() as f64
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// Round by round.
    pub(crate) fn over(&self, base: &Self) -> Self {
        assert_eq!(self.0.len(), base.0.len(), "both sides have every round");
        Self(self.0.iter().zip(&base.0).map(|(ours, base)| ours / base).collect())
    }

    /// As `median (min–max)`.
    fn spread(&self) -> String {
        let (low, high) = (self.quantile(0.0), self.quantile(1.0));
        match self.0.len() {
            0 | 1 => short(self.median()),
            _ => format!("{} ({}–{})", short(self.median()), short(low), short(high)),
        }
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// Three figures that count.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// What a goal asks of the median.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    AtLeast(f64),
    AtMost(f64),
    /// Told for whoever wants to know.
    Nothing,
}

impl Wanted {
    fn told(self, median: f64) -> (String, &'static str) {
        let met = |is_met| if is_met { "yes" } else { "**no**" };
        match self {
            Self::AtLeast(least) => (format!("≥ {least}"), met(median >= least)),
            Self::AtMost(most) => (format!("≤ {most}"), met(median <= most)),
            Self::Nothing => (String::new(), ""),
        }
    }
}

/// The rows of a group.
#[derive(Default)]
pub(crate) struct Report(Vec<[String; 6]>);

impl Report {
    /// A figure of ours in parts of one of the baseline.
    pub(crate) fn ratio(
        &mut self,
        goal: &str,
        what: &str,
        (ours, base): (&Samples, &Samples),
        unit: &str,
        wanted: Wanted,
    ) {
        let ratios = ours.over(base);
        let (asked, met) = wanted.told(ratios.median());
        let sides = format!("{} : {} {unit}", short(ours.median()), short(base.median()));
        self.row([goal, what, &ratios.spread(), &sides, &asked, met]);
    }

    /// A figure that needs no baseline.
    pub(crate) fn figure(&mut self, goal: &str, what: &str, samples: &Samples, unit: &str, wanted: Wanted) {
        let (asked, met) = wanted.told(samples.median());
        self.row([goal, what, &format!("{} {unit}", samples.spread()), "", &asked, met]);
    }

    /// What was not measured here, and what is known instead.
    pub(crate) fn note(&mut self, goal: &str, what: &str, instead: &str) {
        self.row([goal, what, instead, "", "", ""]);
    }

    /// Told at once too: whoever cuts a long run short has what there was.
    fn row(&mut self, cells: [&str; 6]) {
        eprintln!("{}", cells.join(" | "));
        self.0.push(cells.map(str::to_owned));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| goal | what | median (min–max) | both sides | wanted | met |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        self.0.iter().try_for_each(|row| writeln!(f, "| {} |", row.join(" | ")))
    }
}
