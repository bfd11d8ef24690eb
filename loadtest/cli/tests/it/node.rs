//! A node of the built server, and runs of the program against it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

pub(crate) const SECRET: &str = "only-an-example-make-your-own-secret";
pub(crate) const API_KEY: &str = "example-api-key";

const ENVIRONMENT: [(&str, &str); 2] = [
    ("ROOMCAST_LOADTEST_SECRET", SECRET),
    ("ROOMCAST_LOADTEST_API_KEY", API_KEY),
];

/// The slowest start that is still believed to come to an end.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Node {
    process: Child,
    folder: PathBuf,
    pub(crate) target: String,
    pub(crate) api: String,
}

/// The program at work.
pub(crate) struct Running {
    process: Option<Child>,
    report: PathBuf,
    progress: PathBuf,
}

/// What the program came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
    /// The report in JSON, when there was a run.
    pub(crate) report: Value,
}

impl Node {
    /// With one of the bundled policies.
    pub(crate) async fn start(policy: &str) -> Self {
        Self::start_with(policy, "").await
    }

    /// With further lines of configuration: tables, as it ends with one.
    pub(crate) async fn start_with(policy: &str, more: &str) -> Self {
        let folder = folder();
        let policy = repository().join("gateway/policies").join(policy);
        let config = folder.join("roomcast.toml");
        let text = format!(
            "listen = \"127.0.0.1:0\"\npolicy = {policy:?}\n[ops]\nlisten = \"127.0.0.1:0\"\n\
             [auth.jwt]\nhmac_secret = \"{SECRET}\"\n[api]\nkeys = [\"{API_KEY}\"]\n[log]\nformat = \"json\"\n{more}\n"
        );
        fs::write(&config, text).unwrap();
        let log = folder.join("log");
        let (out, errors) = (
            fs::File::create(&log).unwrap(),
            fs::File::options().append(true).open(&log).unwrap(),
        );
        let mut command = Command::new(server());
        command.arg("serve").arg("--config").arg(&config);
        let mut process = command.stdout(out).stderr(errors).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let (target, api) = loop {
            let text = fs::read_to_string(&log).unwrap();
            if let Some(addresses) = text.lines().find_map(serving) {
                break addresses;
            }
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "the node ended: {ended:?}\n{text}");
            assert!(Instant::now() < deadline, "the node does not serve:\n{text}");
            sleep(Duration::from_millis(20)).await;
        };
        Self {
            process,
            folder,
            target,
            api,
        }
    }

    /// Runs the program against it. Nothing about this machine makes a run unbelievable, unless a test says so.
    pub(crate) fn run(&self, line: &str) -> Ran {
        let report = self.report();
        run(&self.words(line, &report), &ENVIRONMENT, report)
    }

    /// Begins to, and comes back when events are delivered.
    pub(crate) async fn begin(&self, line: &str) -> Running {
        let (report, progress) = (self.report(), self.path(&format!("{}.progress", number())));
        let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast-loadtest"));
        command
            .args(self.words(line, &report))
            .env_clear()
            .envs(ENVIRONMENT);
        let errors = fs::File::create(&progress).unwrap();
        let process = command.stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let mut running = Running {
            process: Some(process),
            report,
            progress,
        };
        let deadline = Instant::now() + PATIENCE;
        while !running.delivers() {
            assert!(
                Instant::now() < deadline,
                "{}",
                fs::read_to_string(&running.progress).unwrap()
            );
            sleep(Duration::from_millis(20)).await;
        }
        running
    }

    fn words(&self, line: &str, report: &Path) -> Vec<String> {
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        for (name, value) in [
            ("--target", self.target.as_str()),
            ("--api", self.api.as_str()),
            ("--report", report.to_str().unwrap()),
            ("--max-lag", "1h"),
            ("--max-cpu", "1000"),
            ("--grace", "15s"),
        ] {
            if !words.iter().any(|word| word == name) {
                words.extend([name.to_owned(), value.to_owned()]);
            }
        }
        words
    }

    fn report(&self) -> PathBuf {
        self.path(&format!("{}.json", number()))
    }

    /// A token of the node's own making.
    pub(crate) fn token(&self, words: &str) -> String {
        let mut command = Command::new(server());
        command
            .arg("token")
            .arg("--config")
            .arg(self.path("roomcast.toml"));
        let output = command.args(words.split_whitespace()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// As a machine that goes down.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
        let _gone = fs::remove_dir_all(&self.folder);
    }
}

/// Runs the program with nothing in its environment but that.
pub(crate) fn run(words: &[String], environment: &[(&str, &str)], report: impl AsRef<Path>) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast-loadtest"));
    command.args(words).env_clear().envs(environment.iter().copied());
    let output = command.output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    Ran::new(output.status.code(), output.stdout, errors, report.as_ref())
}

impl Running {
    /// Whether a line of its progress says so.
    fn delivers(&mut self) -> bool {
        let progress = fs::read_to_string(&self.progress).unwrap();
        let mut lines = progress.lines().filter_map(|line| line.split_once("delivered/s"));
        lines.any(|(before, _)| before.split_whitespace().last() != Some("0"))
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        let pid = self.process.as_ref().unwrap().id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    pub(crate) fn end(mut self) -> Ran {
        let output = self.process.take().unwrap().wait_with_output().unwrap();
        let errors = fs::read_to_string(&self.progress).unwrap();
        Ran::new(output.status.code(), output.stdout, errors, &self.report)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _gone = process.kill();
            let _reaped = process.wait();
        }
    }
}

impl Ran {
    fn new(code: Option<i32>, output: Vec<u8>, errors: String, report: &Path) -> Self {
        let report = fs::read(report)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self {
            code,
            output: String::from_utf8(output).unwrap(),
            errors,
            report: report.unwrap_or_default(),
        }
    }

    pub(crate) fn figure(&self, name: &str) -> u64 {
        let value = self.report["figures"][name].as_u64();
        value.unwrap_or_else(|| panic!("{name} is not in {self:?}"))
    }

    /// All is well, and what was delivered is exactly what was due.
    #[track_caller]
    pub(crate) fn delivered(&self, due: u64) {
        assert_eq!(self.code, Some(0), "{self:?}");
        let delivered = (
            self.figure("due"),
            self.figure("delivered"),
            self.figure("duplicates"),
        );
        assert_eq!(delivered, (due, due, 0), "{}", self.output);
        assert_eq!(
            (self.figure("publish_failed"), self.figure("lost")),
            (0, 0),
            "{}",
            self.output
        );
    }
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_path_buf()
}

/// Beside the program, where a build of the workspace leaves it.
fn server() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_roomcast-loadtest")).with_file_name("roomcast");
    let server = std::env::var_os("ROOMCAST_BIN").map_or(built, PathBuf::from);
    assert!(
        server.exists(),
        "{} does not exist: build it (cargo build -p gateway), or name one in ROOMCAST_BIN",
        server.display()
    );
    server
}

fn serving(line: &str) -> Option<(String, String)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let address = |key: &str| Some(format!("http://{}", line[key].as_str()?));
    (line["message"] == "serving").then(|| Some((address("listen")?, address("ops.listen")?)))?
}

fn folder() -> PathBuf {
    let name = format!("roomcast-loadtest-{}-{}", std::process::id(), number());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
