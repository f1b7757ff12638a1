//! What is said of certificates and keys that cannot be used: the file, what was expected, and nothing of what is in it.

use std::{fs, process::Command};

use crate::support::tls::{Authority, Issued};

const CONFIG: &str = "workers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nname = \"https\"\n\
    listen = \"127.0.0.1:0\"\ntls = { certificate = \"CERTIFICATE\", private_key = \"PRIVATE_KEY\" }\n";

/// What `meshup check` and `meshup run` say of a listener with these files. Neither may be content.
fn said(issued: &Issued, certificate: &str, key: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    issued.write(folder.path(), "good");
    fs::write(folder.path().join("bad.pem"), certificate).unwrap();
    fs::write(folder.path().join("bad.key"), key).unwrap();
    let config = CONFIG.replace("CERTIFICATE", "bad.pem").replace("PRIVATE_KEY", "bad.key");
    run(folder.path(), &config)
}

fn run(folder: &std::path::Path, config: &str) -> String {
    let path = folder.join("meshup.toml");
    fs::write(&path, config).unwrap();
    let command = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshup"));
        let output = command.env("RUST_LOG", "trace").args([name, "--config"]).arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}");
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    command("check") + &command("run")
}

/// Whether a text shows any part of a file: its characters, their numbers as a list of bytes, or as hexadecimal digits.
fn shows(text: &str, file: &str) -> bool {
    let numbers = |line: &str| line.bytes().take(8).map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
    let lines =
        file.lines().flat_map(|line| line.split("-----")).filter(|line| line.len() >= 16 && !line.contains(' '));
    lines.into_iter().any(|line| text.contains(&line[..12]) || text.contains(&numbers(line)))
}

#[test]
fn a_broken_key_is_named_and_not_shown() {
    let issued = Authority::new().issue(&["proxy.test"]);
    let whole = issued.key.clone();
    let half = &whole[..whole.len() / 2];
    let one_line = whole.replace('\n', "");
    let unended = whole.replacen("-----\n", "\n", 1);
    let not_base64 = whole.replacen("\nMI", "\n!MI", 1);
    let shortened = whole.replacen("\nMI", "\nIM", 1);
    for (key, expected) in [
        (half, "has no `-----END ...-----` line, the file may be half written"),
        (&one_line, "has no `-----END ...-----` line"),
        (&unended, "line does not end after its dashes"),
        (&not_base64, "is not base64"),
        (&shortened, "expected is an RSA, ECDSA or Ed25519 key"),
        (&half[30..], "expected is a `-----BEGIN PRIVATE KEY-----` part"),
        (&issued.certificate, "expected is a `-----BEGIN PRIVATE KEY-----` part"),
    ] {
        let said = said(&issued, &issued.certificate, key);
        assert!(said.contains(expected) && said.contains("bad.key"), "{expected}: {said}");
        assert!(!shows(&said, key) && !shows(&said, &whole), "{said}");
    }
}

#[test]
fn a_key_in_the_place_of_a_certificate_is_not_shown() {
    let issued = Authority::new().issue(&["proxy.test"]);
    let half = &issued.key[..issued.key.len() / 2];
    let one_line = issued.key.replace('\n', "");
    for (certificate, expected) in [
        (issued.key.as_str(), "expected are `-----BEGIN CERTIFICATE-----` parts"),
        (half, "has no `-----END ...-----` line"),
        (&one_line, "has no `-----END ...-----` line"),
        (&issued.key.replacen("-----\n", "\n", 1), "line does not end after its dashes"),
    ] {
        let said = said(&issued, certificate, &issued.key);
        assert!(said.contains(expected) && said.contains("bad.pem"), "{expected}: {said}");
        assert!(!shows(&said, &issued.key), "{said}");
    }
}

#[test]
fn a_broken_certificate_is_named() {
    let issued = Authority::new().issue(&["proxy.test"]);
    let half = &issued.certificate[..issued.certificate.len() / 2];
    let rubbish = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (certificate, expected) in [(half, "the file may be half written"), (rubbish, "cannot be used: ")] {
        let said = said(&issued, certificate, &issued.key);
        assert!(said.contains(expected) && said.contains("bad.pem"), "{expected}: {said}");
        assert!(!shows(&said, certificate), "{said}");
    }
}

#[test]
fn a_key_in_the_configuration_itself_is_not_shown() {
    let issued = Authority::new().issue(&["proxy.test"]);
    let folder = tempfile::tempdir().unwrap();
    issued.write(folder.path(), "good");
    for key in [issued.key.trim_end().replace('\n', "\\n"), issued.key.replace('\n', "")] {
        let config = CONFIG.replace("CERTIFICATE", "good.pem").replace("PRIVATE_KEY", &key);
        let said = run(folder.path(), &config);
        assert!(said.contains("this is the content of a PEM file, not its path"), "{said}");
        assert!(!shows(&said, &issued.key), "{said}");
    }
}

#[test]
fn faults_of_files_are_told_together_with_those_of_the_text() {
    let folder = tempfile::tempdir().unwrap();
    let ca = "[upstreams.a]\nendpoints = [\"127.0.0.1\"]\ntls = { ca = \"gone-ca.pem\" }\n";
    let config = CONFIG.replace("CERTIFICATE", "gone.pem").replace("PRIVATE_KEY", "gone.key") + ca;
    let said = run(folder.path(), &config.replace("workers = 1", "wrkers = 1"));
    for expected in
        ["unknown key `wrkers`", "gone.pem: ", "gone.key: ", "gone-ca.pem: ", "`127.0.0.1` is not an address"]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    // What could not be read from the text is not looked for on the disk.
    let said = run(folder.path(), &CONFIG.replace("CERTIFICATE", "").replace("PRIVATE_KEY", "gone.key"));
    assert!(said.contains("not a path") && !said.contains("gone.key") && !said.contains("cannot be used"), "{said}");
}
