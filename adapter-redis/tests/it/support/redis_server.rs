//! A Redis of the test's own, which it may stop, kill and freeze.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use adapter_redis::RedisConfig;

use super::backend::Backend;
use super::{eventually, skipped};

/// A `redis-server`, or what `ROOMCAST_REDIS_SERVER` names instead (Valkey), on a loopback port. It ends with this
/// value.
pub(crate) struct RedisServer {
    port: u16,
    options: Vec<String>,
    child: Option<Child>,
}

impl RedisServer {
    /// A server that does not run yet; `None` where tests must not start one.
    pub(crate) fn prepare(options: &[&str]) -> Option<Self> {
        if std::env::var("ROOMCAST_TEST_REDIS").as_deref() != Ok("1") {
            skipped("ROOMCAST_TEST_REDIS is not 1");
            return None;
        }
        if Command::new(binary())
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_err()
        {
            skipped(&format!("{} cannot be run", binary()));
            return None;
        }
        // Free a moment ago, and nobody else on the machine has a reason to take exactly this one.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        Some(Self {
            port,
            options: options.iter().map(|&option| option.to_owned()).collect(),
            child: None,
        })
    }

    pub(crate) async fn start(options: &[&str]) -> Option<Self> {
        let mut server = Self::prepare(options)?;
        server.run().await;
        Some(server)
    }

    /// Starts the process and waits until it answers.
    pub(crate) async fn run(&mut self) {
        let child = Command::new(binary())
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .args(&self.options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        eventually("redis-server answers", Duration::from_secs(10), || {
            self.try_command("PING").is_ok()
        })
        .await;
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// For nodes that are as patient as in production, but come back quickly.
    pub(crate) fn config(&self) -> RedisConfig {
        RedisConfig {
            command_timeout: Duration::from_secs(5),
            reconnect_min: Duration::from_millis(20),
            reconnect_max: Duration::from_millis(200),
            ..RedisConfig::new(self.url())
        }
    }

    /// As [`RedisServer::config`], for the user of that name, whose password is `pw`.
    pub(crate) fn config_of(&self, user: &str) -> RedisConfig {
        RedisConfig {
            url: format!("redis://{user}:pw@127.0.0.1:{}", self.port),
            ..self.config()
        }
    }

    /// A connection for commands.
    pub(crate) fn backend(&self) -> Backend {
        Backend::connect(self.port)
    }

    /// Kills the process, as a machine would that goes down.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Freezes or thaws the process: connections stay open, and nothing is answered.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Sends a command and gives back the beginning of the answer.
    pub(crate) fn command(&self, command: &str) -> String {
        self.try_command(command).unwrap()
    }

    fn try_command(&self, command: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        let mut answer = vec![0; 64 * 1024];
        let length = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    }
}

fn binary() -> String {
    std::env::var("ROOMCAST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if self.child.is_some() {
            // A frozen process does not die of SIGTERM, but of this.
            self.kill();
        }
    }
}
