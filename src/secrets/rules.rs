//! The table: shapes of keys as their makers document them, and what tells them from text that only looks like them.
//!
//! Chosen so that each row stands for keys that are secret and cannot be mistaken: a maker's prefix with an exact length, a
//! checksum, or a name beside the value that says what it is. There is no row for "random text". After the published shapes
//! of GitHub's push protection and of gitleaks (MIT), where both agree.

use base64::Engine as _;

use super::made_up::{entropy, has_github_checksum, has_template, is_made_up};

/// A kind of key.
pub(super) struct Rule {
    pub(super) name: &'static str,
    /// One of them stands where the shape begins, or `lead` bytes behind that; in any case of letters.
    pub(super) keywords: &'static [&'static str],
    pub(super) lead: usize,
    /// Begins at that place. Its first group is the value, else all of it.
    pub(super) shape: &'static str,
    /// Bits per character that the value has at least.
    pub(super) entropy: f64,
    /// Whether letters or digits may stand before it.
    pub(super) within_word: bool,
    /// It is recognised by what stands around it, which is worth nothing in files that programs write.
    pub(super) by_context: bool,
    pub(super) check: Check,
}

/// What else has to hold.
#[derive(Clone, Copy)]
pub(super) enum Check {
    /// Nobody made it up.
    Drawn,
    /// So say its last characters, where it has the length of those that have a checksum.
    GithubChecksum,
    /// None of these: the keys of examples and emulators that everybody knows.
    NoneOf(&'static [&'static str]),
    /// A web token is a secret where a word before it says so; the example of every guide is none.
    WebToken,
    /// Eight to ten digits stand right before it.
    BehindDigits,
    /// A password in an address: of a host that others can reach, and not one of those that everybody has.
    Password,
    /// A password that somebody has put into the address of a page, or of a repository: as above, with digits in it.
    WebPassword,
    /// A password, wherever it is for.
    AnyPassword,
    /// Drawn by lot from capitals, small letters and digits.
    Mixed,
    /// As above, or an id of four hyphens.
    MixedOrId,
    /// A name and a password, in base64.
    Basic,
    /// The lines of a private key, in base64 once more.
    EncodedKey,
    /// A token with a prefix of its maker's, in base64: so the values of a Kubernetes Secret are written.
    EncodedToken,
    /// Lines of a key, which have runs of one character by nature.
    KeyLines,
}

impl Check {
    /// Whether it takes any value of some length: what another row knows by its shape is that row's to judge, and told once.
    pub(super) fn is_general(self) -> bool {
        matches!(self, Self::WebPassword | Self::Mixed | Self::MixedOrId)
    }

    pub(super) fn holds(self, before: &[u8], value: &[u8], behind: &[u8]) -> bool {
        match self {
            Self::Drawn => !is_made_up(value),
            Self::GithubChecksum => {
                let random = memchr::memrchr(b'_', value).map_or(value, |at| &value[at + 1..]);
                !is_made_up(value) && (random.len() != 36 || has_github_checksum(random))
            }
            Self::NoneOf(known) => !is_made_up(value) && !known.iter().any(|one| one.as_bytes() == value),
            Self::WebToken => {
                let before = before.to_ascii_lowercase();
                let has = |word: &&str| memchr::memmem::find(&before, word.as_bytes()).is_some();
                let is_example = memchr::memmem::find(value, JOHN_DOE.as_bytes()).is_some() || has(&"jwt.io");
                !is_made_up(value) && !is_example && TOKEN_WORDS.iter().any(has)
            }
            Self::BehindDigits => {
                let digits = before.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
                (8..=10).contains(&digits) && !is_made_up(value)
            }
            Self::Password => is_password(value) && is_reachable(behind),
            Self::WebPassword => {
                is_password(value) && is_reachable(behind) && value.iter().any(u8::is_ascii_digit)
            }
            Self::AnyPassword => is_password(value),
            Self::Mixed => is_mixed(value),
            Self::MixedOrId => {
                let is_id = value.len() == 36 && value.iter().filter(|byte| **byte == b'-').count() == 4;
                if is_id { !is_made_up(value) } else { is_mixed(value) }
            }
            Self::Basic => has_login(value),
            Self::EncodedKey => is_encoded_key(value),
            Self::EncodedToken => is_encoded_token(value),
            Self::KeyLines => !has_template(value),
        }
    }
}

/// The beginning of `{"sub":"1234567890"`, as the payload of a token that most guides show.
const JOHN_DOE: &str = "eyJzdWIiOiIxMjM0NTY3ODkwIi";

const TOKEN_WORDS: [&str; 12] = [
    "secret",
    "token",
    "bearer",
    "authorization",
    "jwt",
    "api_key",
    "apikey",
    "api-key",
    "service_role",
    "password",
    "credential",
    "cookie",
];

/// Not one of those that stand in every guide.
fn is_password(value: &[u8]) -> bool {
    const USUAL: [&str; 12] = [
        "password",
        "passw0rd",
        "postgres",
        "postgresql",
        "mysql",
        "root",
        "admin",
        "guest",
        "secret",
        "test",
        "user",
        "pass",
    ];
    let lower = value.to_ascii_lowercase();
    let letters = lower.iter().copied().filter(u8::is_ascii_alphabetic).collect::<Vec<_>>();
    let is_usual = USUAL.iter().any(|usual| letters == usual.as_bytes() || lower == usual.as_bytes());
    let is_filled_in = value.starts_with(b"$")
        || value.starts_with(b"%")
        || value.starts_with(b":")
        || value.starts_with(b"[");
    !is_usual && !is_filled_in && !is_made_up(value) && memchr::memmem::find(&lower, b"password").is_none()
}

fn is_mixed(value: &[u8]) -> bool {
    let has = |test: fn(&u8) -> bool| value.iter().any(test);
    has(u8::is_ascii_digit)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_uppercase)
        && !is_made_up(value)
}

/// `name:password` of printable characters; not those that stand in every guide.
fn has_login(value: &[u8]) -> bool {
    let Some(text) = decoded(value) else { return false };
    let Some(colon) = memchr::memchr(b':', &text) else { return false };
    let (name, password) = (&text[..colon], &text[colon + 1..]);
    let is_text = text.iter().all(|byte| (b' '..=b'~').contains(byte));
    // of RFC 7617 and RFC 6749, and of every page about them
    const OF_STANDARDS: [&[u8]; 4] =
        [b"open sesame", b"OpenSesame", b"gX1fBat3bV", b"7Fjfp0ZBr1KtDRbnfVdmIw"];
    let is_known = OF_STANDARDS.iter().any(|known| password.starts_with(known));
    is_text && !name.is_empty() && password.len() >= 6 && is_password(password) && !is_known
}

/// Whether it says so at its beginning: a certificate begins in the same way.
fn is_encoded_key(value: &[u8]) -> bool {
    const HEAD: usize = 80;
    let head = decoded(&value[..value.len().min(HEAD)]);
    head.is_some_and(|head| memchr::memmem::find(&head, b"PRIVATE KEY-----").is_some())
}

/// What the keywords of the row are the base64 of.
const ENCODED: [&str; 17] = [
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "sk-ant-",
    "sk-proj-",
    "AKIA",
    "AIza",
    "sk_live_",
    "rk_live_",
    "xoxb-",
    "xoxp-",
    "npm_",
    "hf_",
];

/// Of so many characters as a token has, and drawn: its first few alone are met by chance in a long text of base64.
fn is_encoded_token(value: &[u8]) -> bool {
    let Some(text) = decoded(value) else { return false };
    let token = text.trim_ascii_end();
    let is_one = token.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    let begins = |prefix: &&str| token.starts_with(prefix.as_bytes());
    is_one && token.len() >= 20 && ENCODED.iter().any(begins) && entropy(token) >= 3.0 && !is_made_up(token)
}

fn decoded(value: &[u8]) -> Option<Vec<u8>> {
    base64::engine::general_purpose::STANDARD.decode(value).ok()
}

/// `behind` begins with the host of an address.
fn is_reachable(behind: &[u8]) -> bool {
    let host = behind.strip_prefix(b"@").unwrap_or(behind);
    let end = host
        .iter()
        .position(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'.' | b'-'))
        .unwrap_or(host.len());
    let host = host[..end].to_ascii_lowercase();
    const NOBODYS: [&[u8]; 10] = [
        b"example.com",
        b"example.org",
        b"example.net",
        b".example",
        b".test",
        b".invalid",
        b".localhost",
        b".local",
        b"127.0.0.1",
        b"0.0.0.0",
    ];
    // without a dot it is a container of the same machine
    host.contains(&b'.') && !NOBODYS.iter().any(|end| host.ends_with(end))
}

/// A key with a prefix of its maker's.
const fn prefixed(name: &'static str, keywords: &'static [&'static str], shape: &'static str) -> Rule {
    Rule {
        name,
        keywords,
        lead: 0,
        shape,
        entropy: 3.0,
        within_word: false,
        by_context: false,
        check: Check::Drawn,
    }
}

/// A value beside a name that says what it is.
const fn named(name: &'static str, keywords: &'static [&'static str], shape: &'static str) -> Rule {
    Rule { within_word: true, by_context: true, ..prefixed(name, keywords, shape) }
}

const fn checked(rule: Rule, check: Check) -> Rule {
    Rule { check, ..rule }
}

#[rustfmt::skip] // one row a kind
pub(super) const RULES: &[Rule] = &[
    // this very program
    prefixed("offshoot-token", &["ofs_"], r"^ofs_[a-z0-9]{12}_[a-z0-9]{52}\b"),
    // code hosting
    checked(prefixed("github-token", &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], r"^gh[pousr]_[A-Za-z0-9]{36,255}\b"), Check::GithubChecksum),
    prefixed("github-fine-grained-token", &["github_pat_"], r"^github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b"),
    prefixed("gitlab-token", &["glpat-", "glrt-", "gldt-", "glptt-", "glcbt-", "glsoat-", "glagent-", "gloas-", "glimt-", "glft-"], r"^gl(?:pat|rt|dt|ptt|cbt|soat|agent|oas|imt|ft)-[A-Za-z0-9_-]{20,300}(?:\.[0-9a-z]{2}\.?[0-9a-z]{7,9})?"),
    prefixed("bitbucket-token", &["atbb", "atctt3xffgn0", "atatt3xffgf0"], r"^(?:ATBB[A-Za-z0-9]{32}|AT(?:CTT3xFfGN0|ATT3xFfGF0)[A-Za-z0-9_=-]{140,260})"),
    // clouds
    prefixed("aws-access-key-id", &["akia", "asia", "abia", "acca"], r"^(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    named("aws-secret-access-key", &["aws_secret", "aws-secret", "awssecret", "secretaccesskey", "secret_access_key"], r#"^(?i:(?:aws[_-]?)?secret[_-]?(?:access[_-]?)?key)["'` ]{0,3}\s{0,3}(?:=>|:=|=|:)\s{0,5}["'`]?([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"#),
    prefixed("google-api-key", &["aiza"], r"^AIza[0-9A-Za-z_-]{35}(?:[^0-9A-Za-z_-]|$)"),
    prefixed("google-oauth-client-secret", &["gocspx-"], r"^GOCSPX-[A-Za-z0-9_-]{28}"),
    prefixed("google-oauth-access-token", &["ya29."], r"^ya29\.[A-Za-z0-9_-]{40,}"),
    checked(named("azure-storage-key", &["accountkey="], r"^(?i:AccountKey)=([A-Za-z0-9+/]{86}==)"), Check::NoneOf(&["Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="])),
    named("azure-shared-access-key", &["sharedaccesskey="], r"^(?i:SharedAccessKey)=([A-Za-z0-9+/]{43}=)"),
    Rule { lead: 4, ..prefixed("azure-client-secret", &["q~"], r"^([A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34})(?:[^A-Za-z0-9_~.-]|$)") },
    Rule { lead: 76, ..prefixed("azure-devops-token", &["azdo"], r"^[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{18}AZDO[A-Za-z0-9]{4}\b") },
    prefixed("digitalocean-token", &["dop_v1_", "doo_v1_", "dor_v1_"], r"^do[opr]_v1_[a-f0-9]{64}\b"),
    prefixed("alibaba-access-key", &["ltai"], r"^LTAI5t[A-Za-z0-9]{18}\b"),
    prefixed("fly-token", &["fm2_"], r"^fm2_[A-Za-z0-9+/=]{100,}"),
    // models
    prefixed("openai-key", &["sk-"], r"^sk-(?:(?:proj|svcacct|admin)-)?[A-Za-z0-9_-]{20,90}T3BlbkFJ[A-Za-z0-9_-]{20,90}"),
    prefixed("anthropic-key", &["sk-ant-"], r"^sk-ant-(?:api|admin|oat|ort)[0-9]{2}-[A-Za-z0-9_-]{80,120}"),
    prefixed("openrouter-key", &["sk-or-v1-"], r"^sk-or-v1-[0-9a-f]{64}\b"),
    prefixed("huggingface-token", &["hf_"], r"^hf_[A-Za-z]{34}\b"),
    prefixed("groq-key", &["gsk_"], r"^gsk_[A-Za-z0-9]{52}\b"),
    prefixed("xai-key", &["xai-"], r"^xai-[A-Za-z0-9]{80}\b"),
    prefixed("perplexity-key", &["pplx-"], r"^pplx-[A-Za-z0-9]{48}\b"),
    prefixed("replicate-token", &["r8_"], r"^r8_[A-Za-z0-9]{37}\b"),
    // money
    prefixed("stripe-live-key", &["sk_live_", "rk_live_"], r"^[rs]k_live_[A-Za-z0-9]{24,247}\b"),
    prefixed("webhook-signing-secret", &["whsec_"], r"^whsec_[A-Za-z0-9+/]{32,64}={0,2}"),
    prefixed("square-token", &["sq0atp-", "sq0csp-", "eaaaa"], r"^(?:sq0(?:atp-[A-Za-z0-9_-]{22}|csp-[A-Za-z0-9_-]{43})|EAAAA[A-Za-z0-9_-]{59})(?:[^A-Za-z0-9_-]|$)"),
    prefixed("shopify-token", &["shpat_", "shpca_", "shppa_", "shpss_"], r"^shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}\b"),
    // messages
    prefixed("slack-token", &["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xoxe."], r"^(?:xox[bpars]-(?:2-)?[0-9]{10,13}-[0-9A-Za-z]{10,13}-[A-Za-z0-9-]{20,80}|xoxe(?:\.xox[bp])?-[0-9]-[A-Za-z0-9]{140,170})"),
    prefixed("slack-app-token", &["xapp-"], r"^xapp-[0-9]-[A-Z0-9]{9,12}-[0-9]{10,14}-[a-f0-9]{64}\b"),
    Rule { within_word: true, ..prefixed("slack-webhook", &["hooks.slack.com/"], r"^hooks\.slack\.com/(?:services|workflows|triggers)/T[A-Z0-9]{8,12}/[AB][A-Z0-9]{8,12}/([A-Za-z0-9]{18,24}(?:/[A-Za-z0-9]{16,32})?)") },
    Rule { within_word: true, ..prefixed("discord-webhook", &["discord.com/api/webhooks/", "discordapp.com/api/webhooks/"], r"^discord(?:app)?\.com/api/webhooks/[0-9]{17,20}/([A-Za-z0-9_-]{60,80})") },
    named("discord-bot-token", &["discord"], r#"^(?i:discord)[A-Za-z0-9_. -]{0,24}["'`]?\s{0,3}(?:=>|:=|=|:|\()\s{0,5}["'`]?(?:Bot )?([MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40})"#),
    checked(Rule { within_word: true, ..prefixed("telegram-bot-token", &[":aa"], r"^:(AA[A-Za-z0-9_-]{33})(?:[^A-Za-z0-9_-]|$)") }, Check::BehindDigits),
    named("twilio-secret", &["twilio"], r#"^(?i:twilio)[A-Za-z0-9_.-]{0,16}(?i:token|secret)["'` ]{0,3}\s{0,3}(?:=>|:=|=|:)\s{0,5}["'`]?([0-9a-f]{32})\b"#),
    prefixed("sendgrid-key", &["sg."], r"^SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}(?:[^A-Za-z0-9_-]|$)"),
    named("mailgun-key", &["mailgun"], r#"^(?i:mailgun)[A-Za-z0-9_.-]{0,16}["'` ]{0,3}\s{0,3}(?:=>|:=|=|:)\s{0,5}["'`]?(key-[0-9a-f]{32}|[0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8})\b"#),
    named("mailchimp-key", &["mailchimp"], r#"^(?i:mailchimp)[A-Za-z0-9_.-]{0,16}["'` ]{0,3}\s{0,3}(?:=>|:=|=|:)\s{0,5}["'`]?([0-9a-f]{32}-us[0-9]{1,2})\b"#),
    prefixed("brevo-key", &["xkeysib-"], r"^xkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16}\b"),
    prefixed("resend-key", &["re_"], r"^re_[A-Za-z0-9]{8}_[A-Za-z0-9]{24}\b"),
    // packages
    checked(prefixed("npm-token", &["npm_"], r"^npm_[A-Za-z0-9]{36}\b"), Check::GithubChecksum),
    prefixed("pypi-token", &["pypi-ag"], r"^pypi-Ag(?:EIcHlwaS5vcmc|ENdGVzdC5weXBpLm9yZw)[A-Za-z0-9_-]{50,1000}"),
    prefixed("rubygems-key", &["rubygems_"], r"^rubygems_[a-f0-9]{48}\b"),
    prefixed("crates-io-token", &["cio"], r"^cio[A-Za-z0-9]{32}\b"),
    prefixed("nuget-key", &["oy2"], r"^oy2[a-z0-9]{43}\b"),
    prefixed("docker-token", &["dckr_pat_", "dckr_oat_"], r"^dckr_[po]at_[A-Za-z0-9_-]{27,32}(?:[^A-Za-z0-9_-]|$)"),
    // operations
    prefixed("vault-token", &["hvs.", "hvb."], r"^hv[sb]\.[A-Za-z0-9_-]{90,300}"),
    Rule { lead: 14, ..prefixed("terraform-token", &[".atlasv1."], r"^[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,70}") },
    prefixed("grafana-token", &["glsa_", "glc_"], r"^(?:glsa_[A-Za-z0-9]{32}_[a-f0-9]{8}\b|glc_eyJ[A-Za-z0-9+/=]{40,400})"),
    prefixed("new-relic-key", &["nrak-"], r"^NRAK-[A-Z0-9]{27}\b"),
    prefixed("sentry-token", &["sntrys_", "sntryu_"], r"^sntry(?:s_eyJ[A-Za-z0-9+/=_-]{80,400}|u_[a-f0-9]{64}\b)"),
    prefixed("databricks-token", &["dapi"], r"^dapi[a-f0-9]{32}(?:-[0-9])?\b"),
    prefixed("doppler-token", &["dp.pt.", "dp.st.", "dp.ct."], r"^dp\.(?:pt|st|ct)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,44}\b"),
    prefixed("pulumi-token", &["pul-"], r"^pul-[a-f0-9]{40}\b"),
    prefixed("supabase-token", &["sbp_", "sb_secret_"], r"^(?:sbp_[a-f0-9]{40}\b|sb_secret_[A-Za-z0-9_-]{31})"),
    prefixed("planetscale-token", &["pscale_"], r"^pscale_(?:pw|tkn|oauth)_[A-Za-z0-9_.=-]{32,64}"),
    prefixed("tailscale-key", &["tskey-"], r"^tskey-(?:auth|api|client|scim|webhook)-[A-Za-z0-9]{10,}-[A-Za-z0-9]{24,}"),
    prefixed("cloudflare-origin-ca-key", &["v1.0-"], r"^v1\.0-[a-f0-9]{24}-[a-f0-9]{146}\b"),
    prefixed("postman-key", &["pmak-"], r"^PMAK-[a-f0-9]{24}-[a-f0-9]{34}\b"),
    prefixed("linear-key", &["lin_api_"], r"^lin_api_[A-Za-z0-9]{40}\b"),
    prefixed("notion-token", &["ntn_", "secret_"], r"^(?:ntn_[0-9]{11}[A-Za-z0-9]{35}|secret_[A-Za-z0-9]{43})\b"),
    prefixed("figma-token", &["figd_"], r"^figd_[A-Za-z0-9_-]{40}"),
    Rule { within_word: true, ..prefixed("teams-webhook", &[".webhook.office.com/"], r"^\.webhook\.office\.com/webhookb2/[0-9a-f-]{36}@[0-9a-f-]{36}/IncomingWebhook/([0-9a-f]{32})\b") },
    named("heroku-key", &["heroku"], r#"^(?i:heroku)[A-Za-z0-9_. -]{0,24}(?i:key|token|secret)["'` ]{0,3}\s{0,3}(?:=>|:=|=|:)\s{0,5}["'`]?([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\b"#),
    named("cloudflare-key", &["cloudflare", "cf_api"], r#"^(?i:cloudflare|cf_api)[A-Za-z0-9_. -]{0,24}(?i:key|token|secret)["'` ]{0,3}\s{0,3}(?:=>|:=|=|:)\s{0,5}["'`]?([A-Za-z0-9_-]{40}|[0-9a-f]{37})(?:[^A-Za-z0-9_-]|$)"#),
    named("datadog-key", &["datadog", "dd_api_key", "dd_app_key"], r#"^(?i:datadog[A-Za-z0-9_. -]{0,24}key|dd_(?:api|app)_key)["'` ]{0,3}\s{0,3}(?:=>|:=|=|:)\s{0,5}["'`]?([0-9a-f]{40}|[0-9a-f]{32})\b"#),
    prefixed("age-secret-key", &["age-secret-key-1"], r"^AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}\b"),
    // of no maker in particular
    checked(Rule { within_word: true, entropy: 3.5, ..prefixed("private-key", &["-----begin "], r#"^-----BEGIN (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:\\+[nr]|[\s"'+,;#/*>|-]){1,16}(?:(?:Proc-Type|DEK-Info|Version|Comment|Hash): [^\n\\]{0,100}(?:\\+[nr]|[\s"'+,;#/*-]){1,16}){0,4}([A-Za-z0-9+/=]{40,})"#) }, Check::KeyLines),
    checked(Rule { within_word: true, entropy: 3.5, ..prefixed("putty-private-key", &["putty-user-key-file-"], r"^PuTTY-User-Key-File-[23]: [^\n]{1,60}\n(?:[^\n]{0,200}\n){1,60}?Private-Lines: [0-9]{1,4}\r?\n([A-Za-z0-9+/=]{40,})") }, Check::KeyLines),
    checked(Rule { entropy: 3.5, ..prefixed("encoded-private-key", &["ls0tls1crudjtib"], r"^LS0tLS1CRUdJTiB[A-Za-z0-9+/]{100,3900}") }, Check::EncodedKey),
    checked(prefixed("encoded-token", &["z2hwx", "z2hvx", "z2h1x", "z2hzx", "z2hyx", "z2l0ahvix3bhdf", "z2xwyxqt", "c2styw50l", "c2stchjva", "qutjq", "qul6y", "c2tfbgl2zv", "cmtfbgl2zv", "eg94yi", "eg94cc", "bnbtx", "agzf"], r"^[A-Za-z0-9+/]{27,600}={0,2}"), Check::EncodedToken),
    checked(Rule { by_context: true, entropy: 2.75, ..prefixed("netrc-password", &["machine "], r"^(?i:machine)[ \t]{1,8}[A-Za-z0-9.-]{1,253}\s{1,40}login\s{1,8}\S{1,128}\s{1,40}password\s{1,8}(\S{8,256})") }, Check::AnyPassword),
    checked(named("npm-login", &["_authtoken"], r#"^(?i:_authToken)\s{0,3}[=:]\s{0,3}["']?([A-Za-z0-9+/=_.-]{20,400})"#), Check::MixedOrId),
    checked(named("basic-login", &["_auth", "\"auth\"", "authorization"], r#"^(?:_auth\s{0,3}=|"auth"\s{0,8}:|(?i:authorization)["'`]?\s{0,3}[:=,]\s{0,3}["'`]?(?i:basic)\s)\s{0,3}["']?([A-Za-z0-9+/]{12,600}={0,2})"#), Check::Basic),
    checked(Rule { entropy: 4.0, ..named("bearer-token", &["authorization"], r#"^(?i:authorization)["'`]?\]?\s{0,3}[:=,]\s{0,3}["'`]?(?i:bearer)\s{1,3}([A-Za-z0-9_.~+/-]{24,400}={0,2})"#) }, Check::Mixed),
    checked(Rule { by_context: true, ..prefixed("http-address-password", &["https://", "http://"], r#"^(?i:https?)://[^\s:/@"'<>`]{1,64}:([^\s/@"'<>`]{8,128})@"#) }, Check::WebPassword),
    checked(Rule { by_context: true, entropy: 3.5, ..prefixed("json-web-token", &["eyj"], r"^eyJ[A-Za-z0-9_-]{10,1500}\.eyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{20,700}") }, Check::WebToken),
    checked(Rule { by_context: true, entropy: 2.5, ..prefixed("database-url", &["postgres://", "postgresql://", "mysql://", "mariadb://", "mongodb://", "mongodb+srv://", "redis://", "rediss://", "amqp://", "amqps://", "mssql://", "sqlserver://", "clickhouse://", "postgresql+", "mysql+"], r#"^(?i:postgres(?:ql)?|mysql|mariadb|mongodb|rediss?|amqps?|mssql|sqlserver|clickhouse)(?:\+[a-z0-9]{2,12})?://[^\s:/@"'<>`]{0,64}:([^\s/@"'<>`]{8,128})@"#) }, Check::Password),
];
