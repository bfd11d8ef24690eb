//! Every refusal of the configuration: the message names the key, the value and what to do.

use std::{collections::BTreeMap, fs, path::PathBuf};

use gateway::{
    config::Config,
    settings::{Layers, MapEnv},
};

use crate::tls::certificate;

/// A folder of its own for each test, removed with it.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("roomcast-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn load(file: Option<&PathBuf>, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let env: BTreeMap<String, String> = env
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let flags: Vec<(&str, String)> = flags.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
    Config::from_layers(Layers::load(file.map(PathBuf::as_path), &MapEnv(env), &flags))
        .map_err(|problems| problems.0.into_iter().map(|p| p.0).collect())
}

const GOOD: &str =
    "policy = \"builtin:whatsapp-crm\"\n[auth.jwt]\nhmac_secret = \"0123456789abcdef0123456789abcdef\"\n";

#[test]
fn mistakes_are_explained() {
    let folder = Folder::new("mistakes");
    folder.file("empty.pem", "");
    folder.file("good.pem", &certificate("localhost").0);
    folder.file("other.key", &certificate("localhost").1);
    folder.file("rubbish.json", "<html>");
    folder.file(
        "oct.json",
        r#"{"keys":[{"kty":"oct","kid":"s","k":"AAAA"},
        {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
    );
    folder.file("bad-policy.toml", "[identity]\n");
    let ask =
        "[identity]\nuser = \"claims.sub\"\n[[subscribe]]\nevent = \"e\"\nroom = \"r\"\nask = \"webhook\"\n";
    folder.file("ask.toml", ask);
    for to in ["stream", "webhook"] {
        let rule = format!("[identity]\nuser = \"claims.sub\"\n[[forward]]\nevent = \"e\"\nto = \"{to}\"\n");
        folder.file(&format!("{to}.toml"), &rule);
    }
    for (text, expect) in [
        ("listn = \"x\"", "listn: unknown key; did you mean listen?"),
        (
            "[auth.jwt]\nhmac_secert = \"x\"",
            "auth.jwt.hmac_secert: unknown key; did you mean auth.jwt.hmac_secret?",
        ),
        (
            "zzz = 1",
            "zzz: unknown key; `roomcast config-doc` lists all keys",
        ),
        (
            "listen = \"3000\"",
            "listen: \"3000\" is not an address with a port, such as 0.0.0.0:3000",
        ),
        ("listen = [1]", "listen: [1] is not an address"),
        (
            "[limits]\nmax_event_bytes = \"big\"",
            "limits.max_event_bytes: \"big\" is not a size",
        ),
        (
            "[engine]\nwrite_deadline = \"0s\"",
            "engine.write_deadline: \"0s\" is not a duration above zero",
        ),
        (
            "[limits]\nmax_connections = -5",
            "limits.max_connections: \"-5\" is not a whole number, 0 or more",
        ),
        (
            "[webhook]\nurl = \"https://user:pass@backend.example/\"\nsecret = \"0123456789abcdef\"",
            "webhook.url: expected a URL such as https://backend.example/roomcast, without a user or password in it",
        ),
        (
            "[webhook]\nurl = \"https://backend.example/\"",
            "webhook.url needs webhook.secret_file or webhook.secret",
        ),
        (
            "[webhook]\nurl = \"https://backend.example/\"\nsecret = \"whsec_%\"",
            "webhook.secret: expected base64 behind `whsec_`",
        ),
        (
            "[webhook]\nurl = \"https://backend.example/\"\nsecret = \"0123456789abcdef\"\nprevious_secret = \"short\"",
            "webhook.previous_secret: expected a secret of 16 bytes or more; it has 5",
        ),
        (
            "[webhook]\nmax_concurrency = 0",
            "webhook.max_concurrency: \"0\" is not 1 or more",
        ),
        (
            "[limits]\nuser_overflow = \"newest\"",
            "limits.user_overflow: \"newest\" is not \"oldest\" or \"refuse\"",
        ),
        (
            "[server]\ntrusted_proxies = [\"10.0.0.1\", \"proxy.example\"]",
            "server.trusted_proxies: \"proxy.example\" is not an address or a network",
        ),
        (
            "[server]\ntls_cert_file = \"cert.pem\"",
            "server.tls_cert_file is set and server.tls_key_file is not: give both or neither",
        ),
        (
            "[ops]\ntls_key_file = \"key.pem\"",
            "ops.tls_key_file is set and ops.tls_cert_file is not: give both or neither",
        ),
        (
            "[server]\ntls_cert_file = \"missing.pem\"\ntls_key_file = \"empty.pem\"",
            "server.tls_cert_file: {folder}/missing.pem cannot be read: No such file",
        ),
        (
            "[server]\ntls_cert_file = \"empty.pem\"\ntls_key_file = \"empty.pem\"",
            "server.tls_cert_file: {folder}/empty.pem: the file is empty; it has to hold the certificate as PEM",
        ),
        (
            "[ops]\ntls_cert_file = \"good.pem\"\ntls_key_file = \"good.pem\"",
            "ops.tls_key_file: {folder}/good.pem: no private key is in it; a PEM file has a line such as",
        ),
        (
            "[ops]\ntls_cert_file = \"good.pem\"\ntls_key_file = \"other.key\"",
            "ops.tls_key_file: {folder}/other.key: the private key does not belong to the first certificate",
        ),
        (
            "[history]\nmax = 5",
            "history.max: not supported by this version yet",
        ),
        (
            "[drain]\ntimeout = \"5\"",
            "drain.timeout: \"5\" is not a duration with a unit",
        ),
        (
            "[engine]\ntransports = [\"webtransport\"]",
            "engine.transports: \"webtransport\" is not \"websocket\"",
        ),
        (
            "[engine]\ntransports = []",
            "engine.transports: [] is not at least one",
        ),
        (
            "[engine]\npath = \"socket.io\"",
            "engine.path: \"socket.io\" is not an absolute path",
        ),
        (
            "[engine]\nping_interval = \"0s\"",
            "engine.ping_interval: \"0s\" is not a duration above zero",
        ),
        (
            "[cors]\nallowed_origins = [\"app.example\"]",
            "cors.allowed_origins: \"app.example\" is not an origin",
        ),
        (
            "[cors]\nallowed_origins = [\"https://a.example/x\"]",
            "is not an origin",
        ),
        (
            "[log]\nlevel = \"loud\"",
            "log.level: \"loud\" is not error, warn, info, debug or trace",
        ),
        (
            "[log]\nformat = \"xml\"",
            "log.format: \"xml\" is not json, pretty or auto",
        ),
        (
            "[api]\nkeys = [\"\"]",
            "api.keys: expected a list of non-empty keys",
        ),
        (
            "[api]\nread_keys = [\"a b\"]",
            "api.read_keys: expected a list of non-empty keys",
        ),
        (
            "[api]\nkeys = [\"one\", \"two\"]\npublish_keys = [\"three\", \"two\"]",
            "api.publish_keys: holds a key that api.keys holds, too; a key has one scope",
        ),
        (
            "[api]\npublish_keys = [\"two\"]\nread_keys = [\"two\"]",
            "api.read_keys: holds a key that api.publish_keys holds, too",
        ),
        (
            "[auth.jwt]\nleeway = true",
            "auth.jwt.leeway: \"true\" is not a duration",
        ),
        (
            "[auth.jwt]\nalgorithms = [\"none\"]",
            "auth.jwt.algorithms: \"none\" is not one of HS256",
        ),
        (
            "[auth.jwt]\nalgorithms = [\"RS256\"]",
            "auth.jwt.algorithms: RS256 cannot be verified with the configured keys",
        ),
        (
            "[auth.jwt]\nhmac_previous_secret_file = \"empty.pem\"",
            "auth.jwt.hmac_previous_secret_file: the file is empty",
        ),
        (
            "[auth.jwt]\nhmac_secret = \"\"\nhmac_previous_secret = \"x\"",
            "auth.jwt.hmac_previous_secret: there is no current secret beside it",
        ),
        ("[auth.jwt]\njwks_file = \"missing.json\"", "auth.jwt.jwks_file: "),
        (
            "[auth.jwt]\njwks_file = \"rubbish.json\"",
            "auth.jwt.jwks_file: not a JSON Web Key Set: it is not JSON",
        ),
        (
            "[auth.jwt]\njwks_file = \"oct.json\"",
            "auth.jwt.jwks_file: it holds a secret or private key",
        ),
        (
            "[auth.jwt]\njwks_url = \"https://id.example/keys, ftp://id.example/keys\"",
            "auth.jwt.jwks_url: entry 2 is not a URL such as",
        ),
        (
            "[auth.jwt]\nissuer = \"a,b\"\njwks_url = \"https://id.example/keys, https://id.example/keys\"",
            "auth.jwt.jwks_url: entry 2 is there twice",
        ),
        (
            "[auth.jwt]\nhmac_secret = \"\"\nissuer = \"a\"\njwks_url = \"https://a.example/keys, https://b.example/keys\"",
            "auth.jwt.jwks_url and auth.jwt.issuer: 2 URLs and 1 issuers",
        ),
        (
            "[auth.jwt]\nhmac_secret = \"\"\nissuer = \"a,a\"\njwks_url = \"https://a.example/keys, https://b.example/keys\"",
            "auth.jwt.issuer: \"a\" is there twice",
        ),
        (
            "[auth.jwt]\nissuer = \"a,b\"\njwks_url = \"https://a.example/keys, https://b.example/keys\"",
            "auth.jwt.hmac_secret: remove it, or all but one auth.jwt.jwks_url",
        ),
        (
            "[auth.jwt]\njwks_refresh = \"10ms\"",
            "auth.jwt.jwks_refresh: \"10ms\" is not a duration of 1s or more",
        ),
        (
            "[auth.jwt]\njwks_cooldown = \"0s\"",
            "auth.jwt.jwks_cooldown: \"0s\" is not a duration of 1s or more",
        ),
        (
            "[auth.jwt]\njwks_timeout = \"9s\"",
            "auth.jwt.jwks_timeout: \"9s\" is not a duration above zero and of 8s at most",
        ),
        (
            "[auth.jwt]\njwks_max_stale = \"1m\"",
            "auth.jwt.jwks_max_stale: \"1m\" is not 0, or at least auth.jwt.jwks_refresh",
        ),
        (
            "[auth.jwt]\npublic_key_file = \"missing.pem\"",
            "missing.pem cannot be read: No such file",
        ),
        (
            "[auth.jwt]\npublic_key_file = \"empty.pem\"",
            "auth.jwt.public_key_file: not the PEM of an RSA, P-256",
        ),
        (
            "[redis]\nurl = \"http://x\"",
            "redis: the URL of Redis must begin with redis://",
        ),
        (
            "[redis]\nurl = \"rediss://x\"",
            "redis: rediss:// is not supported yet",
        ),
        (
            "[redis]\nurl = \"redis://x\"\nprefix = \"a{b\"",
            "redis: the prefix",
        ),
        (
            "policy = \"missing.toml\"",
            "missing.toml cannot be read: No such file",
        ),
        (
            "policy = \"bad-policy.toml\"",
            "bad-policy.toml: identity: `user` is missing",
        ),
        (
            "policy = \"stream.toml\"",
            "stream.toml: forward[1]: the way to the backend by the stream needs redis.url",
        ),
        (
            "policy = \"webhook.toml\"",
            "webhook.toml: forward[1]: the way to the backend by the webhook needs webhook.url",
        ),
        (
            "[hooks]\nconnect = \"webhook\"",
            "hooks.connect = \"webhook\" needs webhook.url",
        ),
        (
            "[hooks]\nconnect = \"always\"",
            "hooks.connect: \"always\" is not \"off\" or \"webhook\"",
        ),
        (
            "[hooks]\non_failure = \"open\"",
            "hooks.on_failure: \"open\" is not \"refuse\" or \"allow\"",
        ),
        (
            "policy = \"ask.toml\"",
            "ask.toml: subscribe[1]: the way to the backend by the webhook needs webhook.url",
        ),
        (
            "[forward]\nstream_max_length = 0",
            "forward.stream_max_length: \"0\" is not 1 or more",
        ),
    ] {
        let expect = &expect.replace("{folder}", &folder.0.display().to_string());
        // The broken line replaces or joins a good configuration, so that its problem is the only one.
        let mut table: toml::Table = toml::from_str(GOOD).unwrap();
        merge(&mut table, toml::from_str(text).unwrap());
        let file = folder.file("config.toml", &toml::to_string(&table).unwrap());
        let problems = load(Some(&file), &[], &[]).map(|_| ()).unwrap_err();
        assert!(
            problems.len() == 1 && problems[0].contains(expect),
            "{text}\nexpected {expect}\ngot {problems:#?}"
        );
    }
}

fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(into)), toml::Value::Table(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[test]
fn everything_at_once_and_no_secret_is_repeated() {
    let folder = Folder::new("at-once");
    let file = folder.file(
        "config.toml",
        "listn = 1\nlisten = \"x\"\n[auth.jwt]\nhmac_secret = [\"hunter2-inline\"]\n[redis]\nurl = \"redis://u:hunter2@\"\n",
    );
    let env = [("ROOMCAST__LOG__LEVEL", "loud"), ("ROOMCAST__NOPE", "hunter2")];
    let problems = load(Some(&file), &env, &[("ops.listen", "nowhere")])
        .map(|_| ())
        .unwrap_err();
    let text = problems.join("\n");
    for expect in [
        "listn: unknown key",
        "listen: \"x\" is not an address",
        "auth.jwt.hmac_secret: expected a text",
        "redis: the URL of Redis must look like",
        "log.level (from ROOMCAST__LOG__LEVEL): \"loud\"",
        "ROOMCAST__NOPE: unknown key",
        "ops.listen (from the command line): \"nowhere\"",
        "policy: missing",
    ] {
        assert!(text.contains(expect), "{expect} is missing in\n{text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn without_a_key_it_does_not_start() {
    for env in [vec![], vec![("ROOMCAST__AUTH__JWT__HMAC_SECRET", "")]] {
        let mut env = env;
        env.push(("ROOMCAST__POLICY", "builtin:whatsapp-crm"));
        let problems = load(None, &env, &[]).map(|_| ()).unwrap_err();
        assert!(problems.iter().any(|p| p.contains("hmac_secret")), "{problems:?}");
    }
}

#[test]
fn layers_and_formats() {
    let folder = Folder::new("layers");
    folder.file("secret", "0123456789abcdef0123456789abcdef\n");
    let yaml = "listen: 127.0.0.1:1\npolicy: builtin:whatsapp-crm\nauth: {jwt: {hmac_secret_file: secret}}\n";
    let json = r#"{"listen":"127.0.0.1:1","policy":"builtin:whatsapp-crm","auth":{"jwt":{"hmac_secret_file":"secret"}}}"#;
    for (name, text) in [("c.yaml", yaml), ("c.yml", yaml), ("c.json", json)] {
        let file = folder.file(name, text);
        assert_eq!(
            load(Some(&file), &[], &[]).unwrap().node.listen.port(),
            1,
            "{name}"
        );
        let env = [("ROOMCAST__LISTEN", "127.0.0.1:2")];
        assert_eq!(
            load(Some(&file), &env, &[]).unwrap().node.listen.port(),
            2,
            "the environment wins"
        );
        let config = load(Some(&file), &env, &[("listen", "127.0.0.1:3")]).unwrap();
        assert_eq!(config.node.listen.port(), 3, "flags win");
    }
    for (name, text, expect) in [
        ("c.ini", "", "unknown kind of file"),
        (
            "broken.toml",
            "a = \"secret-in-a-broken-line",
            "not valid TOML at line 1",
        ),
        ("broken.json", "{", "not valid JSON at line 1"),
        ("broken.yaml", "a: [", "not valid YAML"),
        ("list.json", "[]", "expected a table of keys"),
    ] {
        let file = folder.file(name, text);
        let problems = load(Some(&file), &[], &[]).map(|_| ()).unwrap_err();
        assert!(problems[0].contains(expect), "{name}: {problems:?}");
        assert!(!problems[0].contains("secret-in"), "{problems:?}");
    }
    let missing = folder.0.join("missing.toml");
    assert!(
        load(Some(&missing), &[], &[])
            .unwrap_err_text()
            .contains("cannot be read")
    );
}

trait UnwrapErrText {
    fn unwrap_err_text(self) -> String;
}

impl UnwrapErrText for Result<Config, Vec<String>> {
    fn unwrap_err_text(self) -> String {
        self.map(|_| ()).unwrap_err().join("\n")
    }
}

const RULE: &str = "[identity]\nuser = \"claims.sub\"\n[[ingest]]\nroom = \"r\"\nevent = \"e\"\nsource = ";

/// What a policy takes messages from has to be there.
#[test]
fn sources_of_messages_need_what_holds_them() {
    const TOKENS: &str =
        "policy = \"policy.toml\"\n[auth.jwt]\nhmac_secret = \"0123456789abcdef0123456789abcdef\"\n";
    const REDIS: &str = "[redis]\nurl = \"redis://h\"\n";
    let folder = Folder::new("sources");
    folder.file("url", "amqp://user:hidden@h/vhost\n");
    folder.file("bad-url", "amqp//user:hidden@h\n");
    let many: Vec<String> = (0..65).map(|n| format!("\"stream:s{n}\"")).collect();
    for (source, keys, expect) in [
        (
            "\"stream:s\"",
            "",
            Some("\"stream:s\": there is no Redis to read it from; set redis.url"),
        ),
        ("\"stream:s\"", REDIS, None),
        (
            "\"stream:roomcast:ingest\"",
            REDIS,
            Some("it begins with redis.prefix"),
        ),
        (
            &format!("[{}]", many.join(", ")),
            REDIS,
            Some("names 65 streams and queues; the limit is 64"),
        ),
        (
            "\"amqp:q\"",
            REDIS,
            Some("\"amqp:q\": there is no RabbitMQ to read it from; set amqp.url or amqp.url_file"),
        ),
        ("\"amqp:q\"", "[amqp]\nurl = \"amqp://user:hidden@h\"", None),
        ("[\"amqp:q\", \"amqp:p\"]", "[amqp]\nurl_file = \"url\"", None),
        (
            "\"amqp:q\"",
            "[amqp]\nurl_file = \"bad-url\"",
            Some("amqp.url_file: expected a URL such as"),
        ),
        (
            "\"amqp:q\"",
            "[amqp]\nurl_file = \"none\"",
            Some("cannot be read"),
        ),
        (
            "\"amqp:q\"",
            "[amqp]\nurl = \"http://user:hidden@h\"",
            Some("amqp.url: expected a URL such as"),
        ),
        (
            "\"amqp:q\"",
            "[amqp]\nurl = \"amqp://user:hidden@h\"\nurl_file = \"url\"",
            Some("amqp.url and amqp.url_file are both set; keep one"),
        ),
        (
            "\"amqp:q\"",
            "[amqp]\nurl = \"amqp://h\"\nprefetch = 65536",
            Some("amqp.prefetch: \"65536\" is not a number from 1 to 65535"),
        ),
        (
            "\"amqp:q\"",
            "[amqp]\nurl = \"amqp://h\"\nprefetch = 0",
            Some("amqp.prefetch: \"0\" is not"),
        ),
    ] {
        folder.file("policy.toml", &format!("{RULE}{source}\n"));
        let file = folder.file("roomcast.toml", &format!("{TOKENS}{keys}\n"));
        match (load(Some(&file), &[], &[]), expect) {
            (Ok(config), None) => assert!(!format!("{config:?}").contains("hidden"), "{source} {keys}"),
            (Err(problems), Some(expect)) => {
                let all = problems.join("\n");
                assert!(all.contains(expect), "{source} {keys}: {all}");
                assert!(!all.contains("hidden"), "{all}");
            }
            (Ok(_), Some(expect)) => panic!("{source} {keys}: expected {expect}"),
            (Err(problems), None) => panic!("{source} {keys}: {problems:?}"),
        }
    }
}
