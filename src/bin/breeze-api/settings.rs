//! What the environment says about the service itself. Keys are read elsewhere.
//!
//! Every fault is reported at once, by name, never by value: an address may hold a
//! password.

use std::{fmt, net::SocketAddr, time::Duration};

use breeze_rollover::{
    embed::{Database, DatabaseError},
    keyring::sources::{Environment, Strictness},
    layer::session::{CookiePolicy, SameSite},
    metrics::Allowed,
    provider::RedisServer,
    schedule::Window,
    token::Lifetimes,
};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    auth::{AgentPolicy, Enforcement},
    outside::{Outside, Recipients},
};

/// The longest time that a request may take.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The settings of the service.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) database: DatabaseUrl,
    /// Where to hear of changes, if not there.
    pub(crate) database_listen: Option<SecretString>,
    pub(crate) listen: SocketAddr,
    pub(crate) lifetimes: Lifetimes,
    /// How long a process that gives no sign of life counts as alive.
    pub(crate) lease: Duration,
    /// How long it goes on serving once it is asked to stop, and is not ready.
    pub(crate) drain: Duration,
    /// Whether it goes on verifying and opening without its lease.
    pub(crate) accepts_while_fenced: bool,
    pub(crate) cookies: CookiePolicy,
    /// Where limits are counted for all processes together.
    pub(crate) redis: Option<RedisServer>,
    /// Requests that one caller may make in a minute.
    pub(crate) requests_per_minute: Option<u64>,
    /// Of the administrator that a first start creates.
    pub(crate) admin_email: String,
    /// Outside providers.
    pub(crate) outside: Outside,
    /// Who may scrape metrics, by address.
    pub(crate) scrapers: Option<Allowed>,
    /// How long, at least, an old METRICS_SCRAPE_TOKEN is accepted.
    pub(crate) scrape_grace: Option<Duration>,
    /// When rollovers of what is due begin by themselves.
    pub(crate) window: Option<Window>,
    /// Who is mailed what is due.
    pub(crate) schedule_mail: Option<Recipients>,
    pub(crate) agents: AgentPolicy,
    /// Whether a code counts for the access token that it opened, and no longer.
    pub(crate) step_up: bool,
}

/// Where the database is, and who may vouch for it beside the public authorities.
#[derive(Debug)]
pub(crate) struct DatabaseUrl {
    pub(crate) url: SecretString,
    authorities: Option<String>,
}

impl DatabaseUrl {
    /// At most so many connections to it.
    pub(crate) async fn connect(&self, connections: u32) -> Result<Database, DatabaseError> {
        let authorities = self.authorities.as_deref().map(str::as_bytes);
        Database::connect_trusting(self.url.expose_secret(), connections, authorities).await
    }

    /// Another one on the same server.
    pub(crate) fn moved_to(&self, url: SecretString) -> Self {
        Self { url, authorities: self.authorities.clone() }
    }
}

/// The database alone: all that a command beside `serve` needs.
pub(crate) fn database_url(environment: &Environment) -> Result<DatabaseUrl, SettingsFaults> {
    let mut reader = Reader { environment, faults: Vec::new() };
    let url = reader.database();
    if reader.faults.is_empty() { Ok(url) } else { Err(SettingsFaults(reader.faults)) }
}

impl Settings {
    /// Reads and checks everything.
    pub(crate) fn read(environment: &Environment) -> Result<Self, SettingsFaults> {
        let mut reader = Reader { environment, faults: Vec::new() };
        let is_production = environment.strictness() == Strictness::Production;
        let settings = Self {
            database: reader.database(),
            database_listen: reader.text("DATABASE_LISTEN_URL").map(SecretString::from),
            listen: reader
                .parsed("BREEZE_LISTEN", "an address and port such as 127.0.0.1:3001")
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 3001))),
            lifetimes: reader.lifetimes(),
            lease: reader.seconds("BREEZE_LEASE_SECONDS").unwrap_or(Duration::from_secs(15)),
            drain: Duration::from_secs(
                reader.parsed::<u32>("BREEZE_DRAIN_SECONDS", SECONDS).unwrap_or(0).into(),
            ),
            accepts_while_fenced: reader.flag("BREEZE_ACCEPT_WHILE_FENCED"),
            cookies: reader.cookies(is_production),
            redis: reader.redis(),
            requests_per_minute: reader
                .parsed::<std::num::NonZeroU32>("BREEZE_REQUESTS_PER_MINUTE", "a whole number")
                .map(|requests| requests.get().into()),
            admin_email: reader
                .text("BREEZE_ADMIN_EMAIL")
                .unwrap_or_else(|| "admin@breeze.local".to_owned()),
            outside: Outside::read(&mut reader),
            scrapers: reader.parsed(
                "METRICS_SCRAPE_IP_ALLOWLIST",
                "addresses or networks such as 10.0.0.7, 192.168.0.0/16",
            ),
            scrape_grace: reader.seconds("METRICS_SCRAPE_GRACE_SECONDS"),
            window: reader
                .parsed("BREEZE_MAINTENANCE_WINDOW", "two times of the day in UTC: 02:00-04:30"),
            schedule_mail: reader.parsed(
                "BREEZE_SCHEDULE_MAIL_TO",
                "addresses such as ann@example.com, ben@example.com",
            ),
            agents: reader.agents(is_production),
            step_up: reader.flag("MFA_STEP_UP"),
        };
        if !settings.admin_email.contains('@') {
            reader.faults.push("BREEZE_ADMIN_EMAIL must be an e-mail address".to_owned());
        }
        if settings.schedule_mail.is_some() && !settings.outside.sends_mails() {
            let fault = "BREEZE_SCHEDULE_MAIL_TO needs a way for mails to go: set MAIL_FROM, and \
                         SMTP_HOST or MAIL_PROVIDER with what it wants";
            reader.faults.push(fault.to_owned());
        }
        if reader.faults.is_empty() { Ok(settings) } else { Err(SettingsFaults(reader.faults)) }
    }
}

/// Everything that is wrong with the settings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SettingsFaults(Vec<String>);

impl fmt::Display for SettingsFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for SettingsFaults {}

/// Authorities to trust beside the public ones, in PEM.
pub(crate) const TRUSTED_CA: &str = "BREEZE_TRUSTED_CA";

const SECONDS: &str = "a whole number of seconds";

/// Reads variables, and notes what is wrong with them.
pub(crate) struct Reader<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) faults: Vec<String>,
}

impl Reader<'_> {
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        match self.environment.lookup(name) {
            Ok(value) => value.map(|value| value.expose_text().trim().to_owned()),
            Err(fault) => {
                self.faults.push(fault.to_string());
                None
            }
        }
        .filter(|text| !text.is_empty())
    }

    pub(crate) fn parsed<T: std::str::FromStr>(&mut self, name: &str, what: &str) -> Option<T> {
        let text = self.text(name)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.faults.push(format!("{name} must be {what}"));
        }
        parsed
    }

    /// Its scheme is judged where it is used.
    fn database(&mut self) -> DatabaseUrl {
        let url = self.text("DATABASE_URL").unwrap_or_else(|| "sqlite://breeze.db".to_owned());
        DatabaseUrl { url: url.into(), authorities: self.text(TRUSTED_CA) }
    }

    fn redis(&mut self) -> Option<RedisServer> {
        let server = RedisServer::new(&self.text("REDIS_URL")?);
        let server = server.map_err(|fault| self.faults.push(fault.to_string())).ok()?;
        // What is unfit for the providers' sake is told there.
        match self.text(TRUSTED_CA) {
            Some(pem) => server.trusting(&pem).ok(),
            None => Some(server),
        }
    }

    /// Breeze's own, longer ones for `E2E_MODE`, or what is asked for.
    fn lifetimes(&mut self) -> Lifetimes {
        let hours = |n: u64| Duration::from_secs(n * 60 * 60);
        let base = if self.flag("E2E_MODE") {
            Lifetimes { access: hours(24), refresh: hours(30 * 24), viewer: hours(24) }
        } else {
            Lifetimes::BREEZE
        };
        Lifetimes {
            access: self.seconds("JWT_ACCESS_TTL_SECONDS").unwrap_or(base.access),
            refresh: self.seconds("JWT_REFRESH_TTL_SECONDS").unwrap_or(base.refresh),
            viewer: self.seconds("JWT_VIEWER_TTL_SECONDS").unwrap_or(base.viewer),
        }
    }

    pub(crate) fn seconds(&mut self, name: &str) -> Option<Duration> {
        let seconds: std::num::NonZeroU32 = self.parsed(name, SECONDS)?;
        Some(Duration::from_secs(seconds.get().into()))
    }

    /// FORMATS section 7.
    fn cookies(&mut self, is_production: bool) -> CookiePolicy {
        let named = self.text("AUTH_COOKIE_SAME_SITE").or_else(|| self.text("COOKIE_SAME_SITE"));
        let same_site = match named.map(|name| name.to_lowercase()).as_deref() {
            None | Some("lax") => SameSite::Lax,
            Some("strict") => SameSite::Strict,
            Some("none") => SameSite::None,
            Some(_) => {
                self.faults.push("AUTH_COOKIE_SAME_SITE must be lax, strict or none".to_owned());
                SameSite::Lax
            }
        };
        let is_secure = same_site == SameSite::None
            || self.flag("AUTH_COOKIE_FORCE_SECURE")
            || self.flag("COOKIE_FORCE_SECURE")
            || is_production;
        CookiePolicy { same_site, is_secure }
    }

    /// FORMATS section 6.
    fn agents(&mut self, is_production: bool) -> AgentPolicy {
        let mode = self.text("ENROLLMENT_SECRET_ENFORCEMENT_MODE");
        let enforcement = match mode.as_deref() {
            Some("warn") => Enforcement::Warn,
            _ if is_production => Enforcement::Refuse,
            _ => Enforcement::Allow,
        };
        let minutes = self.text("ENROLLMENT_KEY_DEFAULT_TTL_MINUTES");
        let minutes = minutes.as_deref().and_then(leading_number).unwrap_or(60);
        AgentPolicy {
            enforcement,
            key_lifetime: Duration::from_secs(u64::from(minutes) * 60),
            overlap: self
                .seconds("AGENT_TOKEN_OVERLAP_SECONDS")
                .unwrap_or(Duration::from_secs(5 * 60)),
            secret_grace: self.seconds("AGENT_ENROLLMENT_SECRET_GRACE_SECONDS"),
        }
    }

    pub(crate) fn flag(&mut self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text == "1" || text.eq_ignore_ascii_case("true"))
    }
}

/// The positive number that `text` begins with, whatever follows: as Breeze reads it.
fn leading_number(text: &str) -> Option<u32> {
    let text = text.trim_start();
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_need_be_set() {
        let none: [(&str, &str); 0] = [];
        let settings = Settings::read(&Environment::given(none)).expect("valid");
        assert_eq!(settings.database.url.expose_secret(), "sqlite://breeze.db");
        assert_eq!(settings.listen.port(), 3001);
        assert_eq!(settings.lifetimes, Lifetimes::BREEZE);
        assert_eq!((settings.lease.as_secs(), settings.drain.as_secs()), (15, 0));
        assert!(!settings.accepts_while_fenced);
    }

    #[test]
    fn tokens_of_tests_from_end_to_end_live_longer_and_each_life_may_be_chosen() {
        let lifetimes = |more: Option<(&'static str, &'static str)>| {
            let set = [("E2E_MODE", "1")].into_iter().chain(more);
            Settings::read(&Environment::given(set)).expect("valid").lifetimes
        };
        let hours = |n: u64| Duration::from_secs(n * 60 * 60);
        assert_eq!(lifetimes(None).viewer, hours(24));
        assert_eq!(lifetimes(Some(("JWT_VIEWER_TTL_SECONDS", "7200"))).viewer, hours(2));
        assert_eq!(lifetimes(Some(("JWT_VIEWER_TTL_SECONDS", "7200"))).access, hours(24));
    }

    #[test]
    fn the_life_of_an_enrolment_key_is_read_as_breeze_reads_it() {
        let minutes = |text| leading_number(text).unwrap_or(60);
        assert_eq!([minutes("90"), minutes(" 90 min"), minutes("+15.9")], [90, 90, 15]);
        assert_eq!([minutes("x"), minutes("0"), minutes("-5")], [60, 60, 60]);
    }

    /// Cookies that Breeze's own code set, and found.
    #[test]
    fn cookies_are_those_of_breeze() {
        use breeze_rollover::layer::session::{CSRF_COOKIE, cookie};
        use http::{HeaderMap, HeaderValue, header::COOKIE};
        use serde_json::Value;

        use crate::auth::REFRESH_COOKIE;

        const WEEK: u64 = 604_800;
        let vectors = include_str!("../../../tests/vectors/breeze-vectors.json");
        let vectors: Value = serde_json::from_str(vectors).expect("JSON");
        let vectors = vectors["vectors"].as_array().expect("a list").iter();
        let mut judged = 0;
        for v in vectors.filter(|v| v["group"] == "cookie") {
            let set = v["env"].as_object().expect("an environment").iter();
            let set =
                set.map(|(name, value)| (name.clone(), value.as_str().expect("text").to_owned()));
            let mut policy = Settings::read(&Environment::given(set)).expect("valid").cookies;
            let (args, expected) = (&v["args"], &v["expected"]["ok"]);
            let value = args[0].as_str().unwrap_or_default();
            let over_tls = |at: usize| args[at].as_bool().unwrap_or_default();
            let refresh = |policy: CookiePolicy, value, age| {
                policy.http_only(REFRESH_COOKIE, value, "/api/v1/auth", age)
            };
            let set = match v["op"].as_str().expect("an operation") {
                "buildRefreshTokenCookie" => {
                    policy.is_secure |= over_tls(1);
                    refresh(policy, value, WEEK)
                }
                "buildClearRefreshTokenCookie" => {
                    policy.is_secure |= over_tls(0);
                    refresh(policy, "", 0)
                }
                "buildCsrfTokenCookie" => {
                    policy.is_secure |= over_tls(1);
                    policy.readable(CSRF_COOKIE, value, "/", WEEK)
                }
                "getCookieValue" => {
                    let mut headers = HeaderMap::new();
                    if let Some(sent) = args[0].as_str() {
                        headers.insert(COOKIE, HeaderValue::from_str(sent).expect("a header"));
                    }
                    let found = cookie(&headers, args[1].as_str().expect("a name"));
                    assert_eq!(found.as_deref(), expected.as_str(), "{}", v["id"]);
                    judged += 1;
                    continue;
                }
                other => panic!("{other} is not judged"),
            };
            assert_eq!(set.to_str().ok(), expected.as_str(), "{}", v["id"]);
            judged += 1;
        }
        assert_eq!(judged, 21);
    }

    #[test]
    fn mails_of_the_schedule_need_a_way_to_go() {
        let to = ("BREEZE_SCHEDULE_MAIL_TO", "ann@example.com, ben@example.com");
        let read = |more: &[(&'static str, &'static str)]| {
            Settings::read(&Environment::given(more.iter().copied().chain([to])))
        };
        let fault = read(&[]).expect_err("nobody sends them").to_string();
        assert!(fault.contains("SMTP_HOST"), "{fault}");
        read(&[("MAIL_FROM", "b@example.com")]).expect_err("no way is chosen");
        read(&[("MAIL_FROM", "b@example.com"), ("MAIL_PROVIDER", "smtp")]).expect_err("no host");
        read(&[("MAIL_FROM", "b@example.com"), ("SMTP_HOST", "localhost")]).expect("valid");
        read(&[("MAIL_FROM", "b@example.com"), ("MAIL_PROVIDER", "resend")]).expect("valid");
        let nobody = Environment::given([("BREEZE_SCHEDULE_MAIL_TO", "ann")]);
        Settings::read(&nobody).expect_err("no address");
    }

    #[test]
    fn every_fault_is_told_at_once_and_none_by_its_value() {
        let environment = Environment::given([
            ("DATABASE_URL", "postgres://user:hunter2@host/db"),
            ("BREEZE_LISTEN", "hunter2"),
            ("JWT_ACCESS_TTL_SECONDS", "0"),
            ("COOKIE_SAME_SITE", "sometimes"),
        ]);
        let faults = Settings::read(&environment).expect_err("faulty");
        assert_eq!(faults.0.len(), 3, "{faults}");
        assert!(!faults.to_string().contains("hunter2"), "{faults}");
    }
}
