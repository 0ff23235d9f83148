//! Patterns for names and paths. Every text is a pattern: there is nothing to be invalid.

/// Whether a name fits a pattern in which `*` stands for any text.
#[must_use]
pub fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    fits(pattern, name, |byte| *byte == b'*', |byte, other| byte == other)
}

/// Patterns for paths below some directory, asked about one path after another: what was found of the directories on the way is
/// kept for the next one, so that a walk looks at each name once.
///
/// A path fits when it, or a directory that it lies in, does. `*` stands for any text within a name, `?` for one byte of it, `**` as
/// a name of its own for any directories, none included. Everything else is meant as it is written; `./` before it says nothing.
#[derive(Clone, Debug, Default)]
pub struct Globs {
    /// Each as its names.
    patterns: Vec<Vec<Vec<u8>>>,
    /// Where the patterns are behind the directories of the path that was asked about last.
    behind: Vec<(Vec<u8>, Vec<Place>)>,
}

/// How far a path has come in one pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Fits,
    /// The names that the next one may be, each once and in their order; none: nothing below fits.
    Before(Vec<u32>),
}

impl Globs {
    #[must_use]
    pub fn new<T: AsRef<str>>(patterns: impl IntoIterator<Item = T>) -> Self {
        let names = |pattern: T| names_of(pattern.as_ref()).map(<[u8]>::to_vec).collect();
        Self { patterns: patterns.into_iter().map(names).collect(), behind: Vec::new() }
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.patterns.len()
    }

    /// The patterns, by their place, that a path fits.
    pub fn fitting(&mut self, path: &[u8]) -> Vec<usize> {
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = slash.map_or((&[][..], path), |at| (&path[..at], &path[at + 1..]));
        self.come_to(parent);
        let places = self.patterns.iter().enumerate().map(|(index, pattern)| {
            let next = self.place(index).next(pattern, name);
            (index, next)
        });
        places.filter(|(_, place)| *place == Place::Fits).map(|(index, _)| index).collect()
    }

    pub fn fits(&mut self, path: &[u8]) -> bool {
        !self.fitting(path).is_empty()
    }

    /// Whether something below the directory at `path` may fit: whoever looks for what fits need not enter the others.
    pub fn may_fit_below(&mut self, path: &[u8]) -> bool {
        self.come_to(path);
        (0..self.patterns.len()).any(|index| match self.place(index) {
            Place::Fits => true,
            Place::Before(names) => !names.is_empty(),
        })
    }

    fn place(&self, index: usize) -> Place {
        match self.behind.last() {
            Some((_, places)) => places[index].clone(),
            None => Place::start(&self.patterns[index]),
        }
    }

    /// Walks to a directory from the one that it shares with the last.
    fn come_to(&mut self, dir: &[u8]) {
        let names: Vec<&[u8]> = dir.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        let shared = self.behind.iter().zip(&names).take_while(|((name, _), other)| name == *other).count();
        self.behind.truncate(shared);
        for name in &names[shared..] {
            let places = self.patterns.iter().enumerate();
            let places = places.map(|(index, pattern)| self.place(index).next(pattern, name)).collect();
            self.behind.push((name.to_vec(), places));
        }
    }
}

impl Place {
    fn start(pattern: &[Vec<u8>]) -> Self {
        let mut names = Vec::new();
        reach(pattern, 0, &mut names);
        // without a name nothing fits
        names.retain(|at| (*at as usize) < pattern.len());
        Self::Before(names)
    }

    fn next(self, pattern: &[Vec<u8>], name: &[u8]) -> Self {
        let Self::Before(names) = self else { return self };
        let mut next = Vec::new();
        for at in names {
            let wanted = &pattern[at as usize];
            if is_star(wanted) {
                reach(pattern, at, &mut next);
            } else if name_fits(wanted, name) {
                reach(pattern, at + 1, &mut next);
            }
        }
        // the end of the pattern comes last
        if next.last().is_some_and(|last| *last as usize == pattern.len()) {
            Self::Fits
        } else {
            Self::Before(next)
        }
    }
}

/// Adds a place and those that are reached from it without a name.
fn reach(pattern: &[Vec<u8>], at: u32, places: &mut Vec<u32>) {
    let mut at = at;
    loop {
        if places.last().is_none_or(|last| *last < at) {
            places.push(at);
        }
        match pattern.get(at as usize) {
            Some(name) if is_star(name) => at += 1,
            _ => return,
        }
    }
}

/// Whether there is a path that could fit: `.` and `/` name nothing below a directory.
#[must_use]
pub fn names_something(pattern: &str) -> bool {
    names_of(pattern).next().is_some()
}

fn names_of(pattern: &str) -> impl Iterator<Item = &[u8]> {
    let names = pattern.as_bytes().split(|byte| *byte == b'/');
    names.filter(|name| !name.is_empty() && *name != b".")
}

fn is_star(name: &[u8]) -> bool {
    name == b"**"
}

fn name_fits(pattern: &[u8], name: &[u8]) -> bool {
    fits(pattern, name, |byte| *byte == b'*', |byte, other| *byte == b'?' || byte == other)
}

/// On a mismatch it goes back to the last star alone: no pattern takes longer than its length for each byte.
fn fits(
    pattern: &[u8],
    text: &[u8],
    is_star: impl Fn(&u8) -> bool,
    is_same: impl Fn(&u8, &u8) -> bool,
) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && is_star(&pattern[p]) {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && is_same(&pattern[p], &text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star_p, star_t)) = star {
            p = star_p + 1;
            t = star_t + 1;
            star = Some((star_p, star_t + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(is_star)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_matches(pattern: &str, path: &[u8]) -> bool {
        Globs::new([pattern]).fits(path)
    }

    #[test]
    fn paths_and_their_patterns() {
        let rows = [
            (".env", ".env", true),
            (".env", "web/.env", false),
            (".env", ".envrc", false),
            (".env*", ".env.local", true),
            ("**/.env", ".env", true),
            ("**/.env", "web/deep/.env", true),
            ("web/*/x.pem", "web/a/x.pem", true),
            ("web/*/x.pem", "web/a/b/x.pem", false),
            ("web/**/x.pem", "web/a/b/x.pem", true),
            ("certs/", "certs/a/b.pem", true),
            ("certs", "certs2/a", false),
            ("*", "a/b", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a]", "[a]", true),
            ("a**", "abc", true),
            ("/", "a", false),
            ("./a/./b", "a/b", true),
            (".", "a", false),
            ("**", "a", true),
            ("**", "a/b", true),
            ("a/**", "a", true),
            ("**/**/a", "a", true),
            ("**/a/**/a", "a", false),
            ("**/a/**/a", "b/a/c/a/d", true),
            ("**/a/b", "a/a/b", true),
        ];
        for (pattern, path, expected) in rows {
            assert_eq!(path_matches(pattern, path.as_bytes()), expected, "{pattern} {path}");
        }
        assert!(name_matches(b"release/*", b"release/a/b") && !name_matches(b"a?", b"ab"));
    }

    /// Of every path that fits, all directories on the way are entered.
    #[test]
    fn directories_that_lead_nowhere_are_told() {
        let rows = [
            ("out/*.html", "", true),
            ("out/*.html", "out", true),
            ("out/*.html", "src", false),
            ("out", "out/deep", true),
            ("./out", "out", true),
            ("**/x", "any/where", true),
            ("a/**/x", "a/b/c", true),
            ("a/**/x", "b", false),
            ("a/b*/x", "a/bc", true),
            ("a/b*/x", "a/c", false),
            ("/", "", false),
            ("a/**/x/y", "a/b/z", true),
            ("a/*/x", "a/b/z", false),
        ];
        for (pattern, path, expected) in rows {
            assert_eq!(Globs::new([pattern]).may_fit_below(path.as_bytes()), expected, "{pattern} {path}");
        }
    }

    /// In whatever order they come, with whatever was asked before.
    #[test]
    fn what_is_kept_of_one_path_is_right_for_the_next() {
        let patterns = ["a/**/x", "a/b/*", "**/c", "d", "."];
        let mut globs = Globs::new(patterns);
        let paths =
            ["a/b/x", "a/b/c/x", "a/b/c", "a/bc/x", "a/b", "d/e", "a", "a/b/x/y", "b/c/d", "d", "a/b/c/d/x"];
        for path in paths.iter().chain(paths.iter().rev()) {
            let expected: Vec<_> =
                (0..patterns.len()).filter(|index| path_matches(patterns[*index], path.as_bytes())).collect();
            assert_eq!(globs.fitting(path.as_bytes()), expected, "{path}");
            let below = patterns.iter().any(|one| Globs::new([one]).may_fit_below(path.as_bytes()));
            assert_eq!(globs.may_fit_below(path.as_bytes()), below, "{path}");
        }
    }

    #[test]
    fn a_pattern_without_a_name_names_nothing() {
        for (pattern, expected) in
            [(".", false), ("./", false), ("/", false), ("./.", false), ("./a", true), ("**", true)]
        {
            assert_eq!(names_something(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn many_stars_take_no_longer() {
        let pattern = "*a".repeat(127);
        assert!(!path_matches(
            &pattern,
            &[b'a'; 4_000][..].iter().copied().chain([b'b']).collect::<Vec<_>>()
        ));
        // nor do directories: with every way through them it would be more than anybody waits for
        let pattern = "**/*/".repeat(40) + "b";
        assert!(!path_matches(&pattern, "a/".repeat(2_000).as_bytes()));
    }
}
