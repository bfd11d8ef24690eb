//! Both listeners with TLS: who is served, what changes while the node runs, and the command line.

use std::{io, net::SocketAddr, path::Path, process::Command, sync::Arc};

use adapter_redis::MemoryHub;
use gateway::{
    reload::Reload,
    settings::{Layers, MapEnv},
};
use rustls::{
    ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    cli::roomcast_in,
    config::Folder,
    support::{API_KEY, Node, SECRET, until},
};

const CONFIG: &str = "listen = \"127.0.0.1:0\"\npolicy = \"builtin:whatsapp-crm\"\n\
    [server]\ntls_cert_file = \"public.pem\"\ntls_key_file = \"public.key\"\n\
    [ops]\nlisten = \"127.0.0.1:0\"\ntls_cert_file = \"ops.pem\"\ntls_key_file = \"ops.key\"\n\
    [api]\nkeys = [\"test-key\"]\n[reload]\nwatch = false\n";

/// A certificate for this name and its key, as PEM.
pub fn certificate(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned(), "127.0.0.1".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// A node with TLS, and a folder that it is configured from.
struct House {
    folder: Folder,
    node: Node,
    reload: Reload,
}

impl House {
    fn start(name: &str) -> House {
        let folder = Folder::new(&format!("tls-{name}"));
        let file = folder.file(
            "roomcast.toml",
            &format!("{CONFIG}[auth.jwt]\nhmac_secret = \"{SECRET}\"\n"),
        );
        for listener in ["public", "ops"] {
            give(&folder, listener);
        }
        let load = move || Layers::load(Some(&file), &MapEnv::default(), &[]);
        let (node, reload) = Node::start_from(&MemoryHub::new(), load);
        House { folder, node, reload }
    }

    fn client(&self, listener: &str) -> Client {
        Client::trusting(&self.folder.0.join(format!("{listener}.pem")), &[&TLS13, &TLS12])
    }

    /// The sum of all samples whose line begins like this.
    async fn metric(&self, line_start: &str) -> f64 {
        let text = self.client("ops").get(self.node.operations, "/metrics").await;
        let lines = text.lines().filter(|line| line.starts_with(line_start));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    async fn reload(&self, outcome: &str) {
        let line = format!("roomcast_reload_total{{outcome=\"{outcome}\"}}");
        let before = self.metric(&line).await;
        self.reload.ask();
        until(outcome, async || self.metric(&line).await == before + 1.0).await;
    }
}

/// Another certificate for a listener.
fn give(folder: &Folder, listener: &str) {
    let (chain, key) = certificate("localhost");
    folder.file(&format!("{listener}.pem"), &chain);
    folder.file(&format!("{listener}.key"), &key);
}

/// One that resumes where it may.
struct Client(Arc<ClientConfig>);

impl Client {
    fn trusting(file: &Path, versions: &[&'static SupportedProtocolVersion]) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file).unwrap()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Client(Arc::new(config))
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(self.0.clone()).connect(name, tcp).await
    }

    async fn get(&self, address: SocketAddr, path: &str) -> String {
        let mut stream = self.connect(address).await.expect("TLS");
        get(&mut stream, path, "connection: close\r\n").await
    }
}

async fn get(stream: &mut TlsStream<TcpStream>, path: &str, headers: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    if headers.contains("close") {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("a clean end");
        return answer;
    }
    let mut answer = [0; 1024];
    let length = stream.read(&mut answer).await.unwrap();
    String::from_utf8(answer[..length].to_vec()).unwrap()
}

#[tokio::test]
async fn both_listeners_speak_both_versions_and_http_1() {
    let house = House::start("versions");
    for (listener, address, path, expect) in [
        ("public", house.node.address, "/healthz", "ok"),
        ("ops", house.node.operations, "/livez", "ok"),
        ("ops", house.node.operations, "/stats", "\"bus\""),
    ] {
        let file = house.folder.0.join(format!("{listener}.pem"));
        for (version, expected) in [
            (&TLS12, ProtocolVersion::TLSv1_2),
            (&TLS13, ProtocolVersion::TLSv1_3),
        ] {
            let client = Client::trusting(&file, &[version]);
            let mut stream = client.connect(address).await.unwrap();
            let session = stream.get_ref().1;
            assert_eq!(session.protocol_version(), Some(expected));
            assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
            let answer = get(&mut stream, path, "connection: close\r\n").await;
            assert!(
                answer.starts_with("HTTP/1.1 200") && answer.contains(expect),
                "{answer}"
            );
        }
    }
    let other = house.client("ops").connect(house.node.address).await;
    assert!(other.is_err(), "each listener has its own certificate");
}

#[tokio::test]
async fn who_is_slow_or_speaks_plain_http_disturbs_nobody() {
    let house = House::start("slow");
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(house.node.address).await.unwrap());
    }
    let mut plain = TcpStream::connect(house.node.address).await.unwrap();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    let answer = house.client("public").get(house.node.address, "/healthz").await;
    assert!(answer.ends_with("ok"), "{answer}");
    for (outcome, least) in [("failed", 1.0), ("accepted", 1.0), ("timeout", 0.0)] {
        let line = format!("roomcast_tls_handshakes_total{{outcome=\"{outcome}\"}}");
        assert!(house.metric(&line).await >= least, "{outcome}");
    }
    drop(silent);
}

#[tokio::test]
async fn certificates_are_exchanged_for_who_comes() {
    let house = House::start("exchange");
    let address = house.node.address;
    let before = house.client("public");
    let mut stays = before.connect(address).await.unwrap();
    get(&mut stays, "/healthz", "").await;
    let mut again = before.connect(address).await.unwrap();
    get(&mut again, "/healthz", "").await;
    assert_eq!(again.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));

    give(&house.folder, "public");
    house.reload("applied").await;
    assert!(
        get(&mut stays, "/healthz", "").await.ends_with("ok"),
        "what was agreed stays"
    );
    let error = before.connect(address).await.unwrap_err();
    assert!(
        error.to_string().contains("certificate"),
        "nothing is resumed, and it is another certificate: {error}"
    );
    let after = house.client("public");
    assert!(after.get(address, "/healthz").await.ends_with("ok"));

    // Half of an exchange, and rubbish: what is in force stays.
    let (chain, key) = certificate("localhost");
    let pem = std::fs::read_to_string(house.folder.0.join("public.pem")).unwrap();
    for bad in [chain.as_str(), "rubbish", ""] {
        house.folder.file("public.pem", bad);
        house.reload("refused").await;
        assert!(after.get(address, "/healthz").await.ends_with("ok"));
    }
    house.folder.file("public.pem", &chain);
    house.folder.file("public.key", &key);
    house.reload("applied").await;
    assert!(after.connect(address).await.is_err());
    house.folder.file("public.pem", &pem);
    house.reload("refused").await;
}

#[tokio::test]
async fn a_listener_can_become_plain_and_back() {
    let house = House::start("plain");
    let config = std::fs::read_to_string(house.folder.0.join("roomcast.toml")).unwrap();
    let public = |text: &str| {
        text.replace(
            "[server]\ntls_cert_file = \"public.pem\"\ntls_key_file = \"public.key\"\n",
            "",
        )
    };
    let expiry = "roomcast_tls_certificate_expiry_timestamp_seconds{listener=\"public\"}";
    assert!(house.metric(expiry).await > 1.7e9);
    house.folder.file("roomcast.toml", &public(&config));
    house.reload("applied").await;
    let (status, _) = crate::support::http(house.node.address, "GET", "/healthz", &[], "").await;
    assert_eq!(status, 200);
    assert!(house.metric(expiry).await.is_nan(), "nothing can expire");
    house.folder.file("roomcast.toml", &config);
    house.reload("applied").await;
    let answer = house.client("public").get(house.node.address, "/healthz").await;
    assert!(answer.ends_with("ok"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_asks_by_https() {
    let house = House::start("cli");
    let run = |trusted: &str, arguments: &[&str]| {
        let url = format!("https://{}", house.node.operations);
        let output = Command::new(env!("CARGO_BIN_EXE_roomcast"))
            .args(arguments)
            .args(["--url", &url])
            .env_clear()
            .env("SSL_CERT_FILE", house.folder.0.join(trusted))
            .output()
            .unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    };
    let publish = ["publish", "--room", "a", "--event", "e", "--api-key", API_KEY];
    let (code, text) = run("ops.pem", &publish);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["sockets"], 0);
    let (code, text) = run("ops.pem", &["stats"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("connected"), "{text}");
    assert_eq!(run("ops.pem", &["health"]), (Some(0), "ok\n".to_owned()));
    for command in ["stats", "health"] {
        let (code, text) = run("public.pem", &[command]);
        assert_eq!(code, Some(69), "{command}: {text}");
        assert!(
            text.contains("certificate") && text.contains("SSL_CERT_FILE"),
            "{command}: {text}"
        );
    }
}

#[test]
fn what_expired_is_a_warning_and_dev_stays_plain() {
    let folder = Folder::new("tls-expired");
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    for listener in ["public", "ops"] {
        folder.file(
            &format!("{listener}.pem"),
            &params.self_signed(&key).unwrap().pem(),
        );
        folder.file(&format!("{listener}.key"), &key.serialize_pem());
    }
    let whole = format!("{CONFIG}[auth.jwt]\nhmac_secret = \"{SECRET}\"\n");
    let alone = "[ops]\ntls_cert_file = \"ops.pem\"\ntls_key_file = \"ops.key\"\n";
    for (text, arguments, code, expect) in [
        (
            whole.as_str(),
            &["check-config"][..],
            0,
            "warning: ops.tls_cert_file: the certificate expired at 2001-01-01T00:00:00Z",
        ),
        (
            alone,
            &["serve", "--dev", "--config"],
            64,
            "but ops.tls_cert_file, ops.tls_key_file is configured",
        ),
    ] {
        folder.file("c.toml", text);
        let output = roomcast_in(&folder.0, &[arguments, &["c.toml"]].concat());
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(expect), "{text}");
    }
}
