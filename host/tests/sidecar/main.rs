//! What `examples/sidecar` and `image` hold: YAML that parses and agrees with itself, configurations that pass
//! `meshup check`, and commands that exist.

mod yaml;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Map, Value};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/sidecar").join(name)
}

fn documents(name: &str) -> Vec<Value> {
    let text = fs::read_to_string(example(name)).unwrap();
    yaml::documents(&text)
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| document["kind"] == kind).unwrap()
}

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    list.as_array().unwrap().iter().find(|item| item["name"] == name).unwrap_or_else(|| panic!("no {name}"))
}

fn assert_checked(config: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_meshup")).args(["check", "--config"]).arg(config).output().unwrap();
    assert!(output.status.success(), "{}: {}", config.display(), String::from_utf8_lossy(&output.stderr));
}

/// A duration of the configuration in seconds.
fn seconds(text: &Value) -> u64 {
    text.as_str().unwrap().strip_suffix('s').unwrap().parse().unwrap()
}

fn parsed(config: &str) -> Value {
    let (config, _) = meshup::config::parse(config, Path::new("meshup.toml")).unwrap();
    meshup::config::effective(&config)
}

#[test]
fn the_configurations_in_files_are_good() {
    assert_checked(&example("meshup.toml"));
    assert_checked(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../image/meshup.toml"));
}

#[test]
fn the_configurations_in_the_manifests_are_good() {
    for name in ["kubernetes/sidecar.yaml", "kubernetes/intercepted.yaml"] {
        let documents = documents(name);
        let config = of_kind(&documents, "ConfigMap")["data"]["meshup.toml"].as_str().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("meshup.toml");
        fs::write(&file, config).unwrap();
        assert_checked(&file);
    }
}

#[test]
fn the_manifests_run_a_native_sidecar_that_may_do_nothing_else() {
    for name in ["kubernetes/sidecar.yaml", "kubernetes/intercepted.yaml"] {
        let documents = documents(name);
        let pod = &of_kind(&documents, "Deployment")["spec"]["template"]["spec"];
        let sidecar = named(&pod["initContainers"], "meshup");
        assert_eq!(sidecar["restartPolicy"], "Always", "{name}");
        let security = &sidecar["securityContext"];
        assert_eq!((&security["runAsNonRoot"], &security["runAsUser"]), (&true.into(), &65532.into()), "{name}");
        assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]), "{name}");
        assert!(sidecar["resources"]["requests"].is_object(), "{name}");
        let volumes: Vec<_> = pod["volumes"].as_array().unwrap().iter().map(|volume| &volume["name"]).collect();
        for mount in sidecar["volumeMounts"].as_array().unwrap() {
            assert!(volumes.contains(&&mount["name"]), "{name}: {mount}");
        }
        let config_map = &of_kind(&documents, "ConfigMap")["metadata"]["name"];
        assert_eq!(&named(&pod["volumes"], "config")["configMap"]["name"], config_map, "{name}");
    }
}

#[test]
fn the_probes_ask_the_admin_listener() {
    for name in ["kubernetes/sidecar.yaml", "kubernetes/intercepted.yaml"] {
        let documents = documents(name);
        let pod = &of_kind(&documents, "Deployment")["spec"]["template"]["spec"];
        let sidecar = named(&pod["initContainers"], "meshup");
        let config = parsed(of_kind(&documents, "ConfigMap")["data"]["meshup.toml"].as_str().unwrap());
        let port = named(&sidecar["ports"], "admin")["containerPort"].as_u64().unwrap();
        assert_eq!(config["admin"]["listen"], format!("0.0.0.0:{port}"), "{name}");
        for (probe, path) in [("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")]
        {
            let get = &sidecar[probe]["httpGet"];
            assert_eq!((&get["path"], &get["port"]), (&path.into(), &"admin".into()), "{name}: {probe}");
        }
    }
}

#[test]
fn a_pod_gets_time_for_its_whole_end() {
    for name in ["kubernetes/sidecar.yaml", "kubernetes/intercepted.yaml"] {
        let documents = documents(name);
        let pod = &of_kind(&documents, "Deployment")["spec"]["template"]["spec"];
        let config = parsed(of_kind(&documents, "ConfigMap")["data"]["meshup.toml"].as_str().unwrap());
        let pause = &named(&pod["containers"], "orders")["lifecycle"]["preStop"]["sleep"]["seconds"];
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(grace > pause.as_u64().unwrap() + seconds(&config["drain_timeout"]), "{name}");
    }
}

#[test]
fn the_services_lead_to_a_port_that_something_has() {
    let ports = |container: &Value| container["ports"].as_array().cloned().unwrap_or_default();
    for name in ["kubernetes/sidecar.yaml", "kubernetes/intercepted.yaml"] {
        let documents = documents(name);
        let pod = &of_kind(&documents, "Deployment")["spec"]["template"]["spec"];
        let containers = ["initContainers", "containers"].iter().flat_map(|key| pod[key].as_array().unwrap());
        let all: Vec<Value> = containers.flat_map(ports).collect();
        let target = &of_kind(&documents, "Service")["spec"]["ports"][0]["targetPort"];
        assert!(all.iter().any(|port| port["name"] == *target), "{name}");
    }
}

#[test]
fn the_interception_fits_the_configuration_and_the_users() {
    let documents = documents("kubernetes/intercepted.yaml");
    let pod = &of_kind(&documents, "Deployment")["spec"]["template"]["spec"];
    let interception = named(&pod["initContainers"], "intercept");
    let args: Vec<&str> = interception["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    let output = Command::new(env!("CARGO_BIN_EXE_meshup"))
        .arg("intercept")
        .args(&args)
        .args(["--dry-run", "--tool", "nft"])
        .output()
        .unwrap();
    let rules = String::from_utf8(output.stdout).unwrap();
    let config = parsed(of_kind(&documents, "ConfigMap")["data"]["meshup.toml"].as_str().unwrap());
    for listener in config["listeners"].as_array().unwrap() {
        assert_eq!(listener["transparent"], true);
        let (_, port) = listener["listen"].as_str().unwrap().rsplit_once(':').unwrap();
        assert!(rules.contains(&format!("redirect to :{port}")), "{rules}");
    }
    let user = &named(&pod["initContainers"], "meshup")["securityContext"]["runAsUser"];
    assert!(rules.contains(&format!("skuid {user} return")), "{rules}");
    assert_ne!(&named(&pod["containers"], "orders")["securityContext"]["runAsUser"], user);
    assert_eq!(interception["securityContext"]["capabilities"]["add"], serde_json::json!(["NET_ADMIN"]));
}

#[test]
fn the_compose_file_shares_a_namespace_and_gives_the_drain_its_time() {
    let compose = documents("compose.yaml").remove(0);
    let services = &compose["services"];
    let (proxy, service) = (&services["meshup"], &services["orders"]);
    assert_eq!(proxy["network_mode"], "service:orders");
    assert_eq!((&proxy["read_only"], &proxy["user"]), (&true.into(), &"65532:65532".into()));
    assert_eq!(proxy["cap_drop"], serde_json::json!(["ALL"]));
    let config = parsed(&fs::read_to_string(example("meshup.toml")).unwrap());
    assert!(seconds(&proxy["stop_grace_period"]) > seconds(&config["drain_timeout"]));
    let (_, port) = config["listeners"][0]["listen"].as_str().unwrap().rsplit_once(':').unwrap();
    assert!(service["ports"][0].as_str().unwrap().ends_with(&format!(":{port}")));
    let volumes = proxy["volumes"].as_array().unwrap();
    assert!(volumes.iter().any(|volume| volume.as_str().unwrap().starts_with("./meshup.toml:/etc/meshup/meshup.toml")));
    assert_eq!(proxy["healthcheck"]["test"], serde_json::json!(["CMD", "/meshup", "ready"]));
    assert!(compose["volumes"].as_object().is_some_and(|volumes: &Map<_, _>| volumes.contains_key("cache")));
}

#[test]
fn the_unit_runs_commands_that_exist() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/systemd/meshup.service");
    let unit = fs::read_to_string(unit).unwrap();
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    assert_eq!(value("Type="), "notify-reload");
    for command in [value("ExecStart="), value("ExecStartPre=")] {
        let mut words = command.split(' ');
        assert_eq!(words.next(), Some("/usr/local/bin/meshup"));
        let output = Command::new(env!("CARGO_BIN_EXE_meshup")).args(words).output().unwrap();
        // Understood, but nobody has the file.
        assert_eq!(output.status.code(), Some(1), "{command}");
    }
}
