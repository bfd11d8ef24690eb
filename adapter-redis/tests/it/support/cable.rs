//! A network cable between a node and Redis, which can be pulled: packets vanish both ways, and nobody is told.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use super::skipped;

/// Passes bytes on, for everybody who connects, until either side closes.
const FORWARDER: &str = "
import asyncio, sys
host, port = sys.argv[1], int(sys.argv[2])
async def pass_on(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()
async def serve(reader, writer):
    try:
        there = await asyncio.open_connection(host, port)
    except OSError:
        writer.close()
        return
    await asyncio.gather(pass_on(reader, there[1]), pass_on(there[0], writer))
async def main():
    server = await asyncio.start_server(serve, '0.0.0.0', port)
    await server.serve_forever()
asyncio.run(main())
";

/// A network namespace with one interface, and a forwarder to Redis in it. It is gone with this value.
pub(crate) struct Cable {
    name: String,
    net: u8,
    forwarder: Option<Child>,
}

impl Cable {
    /// `None` where namespaces cannot be made.
    pub(crate) fn lay() -> Option<Self> {
        let id = std::process::id();
        let cable = Self {
            name: format!("roomcast{id}"),
            net: (id % 250) as u8,
            forwarder: None,
        };
        for (program, argument) in [("python3", "--version"), ("nft", "--version")] {
            if Command::new(program).arg(argument).output().is_err() {
                skipped(&format!("there is no {program}"));
                return None;
            }
        }
        let (name, outside, inside) = (&cable.name, cable.outside(), format!("rcin{id}"));
        let (address, peer) = (format!("{}/30", cable.here()), format!("{}/30", cable.there()));
        for command in [
            vec!["netns", "add", name],
            vec![
                "link", "add", &outside, "type", "veth", "peer", "name", &inside, "netns", name,
            ],
            vec!["address", "add", &address, "dev", &outside],
            vec!["link", "set", &outside, "up"],
            vec!["-n", name, "address", "add", &peer, "dev", &inside],
            vec!["-n", name, "link", "set", &inside, "up"],
        ] {
            if !ip(&command) {
                skipped("network namespaces need root and `ip`");
                return None;
            }
        }
        Some(cable)
    }

    /// Where Redis has to listen.
    pub(crate) fn here(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.net, 1)
    }

    /// Connects the other end with the Redis at this port, and answers with the URL for the node.
    pub(crate) fn connect(&mut self, port: u16) -> String {
        let forwarder = Command::new("ip")
            .args(["netns", "exec", &self.name, "python3", "-c", FORWARDER])
            .args([self.here().to_string(), port.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.forwarder = Some(forwarder);
        format!("redis://{}:{port}", self.there())
    }

    /// Pulls the cable, or puts it back: the packet filter of the namespace drops whatever comes and goes.
    pub(crate) fn pull(&self, pulled: bool) {
        const CUT: &str = "add table inet cut; \
            add chain inet cut in { type filter hook input priority 0; policy drop; }; \
            add chain inet cut out { type filter hook output priority 0; policy drop; }";
        let rules = if pulled { CUT } else { "delete table inet cut" };
        let done = Command::new("ip")
            .args(["netns", "exec", &self.name, "nft", rules])
            .status()
            .unwrap();
        assert!(done.success(), "{rules}");
    }

    fn there(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.net, 2)
    }

    fn outside(&self) -> String {
        format!("rcout{}", std::process::id())
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        if let Some(mut forwarder) = self.forwarder.take() {
            let _ = forwarder.kill();
            let _ = forwarder.wait();
        }
        // With it goes its end of the pair, and with that the other.
        ip(&["netns", "del", &self.name]);
        ip(&["link", "del", &self.outside()]);
    }
}

fn ip(args: &[&str]) -> bool {
    Command::new("ip")
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
