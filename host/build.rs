//! Builds the plugins that the binary carries.
//!
//! Beside its workspace, this builds `../plugins` for wasm32-wasip2. A packaged crate has no workspace around it and takes
//! the components in `builtin/`; a test in `src/builtin.rs` keeps those equal to a build.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs, io};

const PLUGINS: [&str; 3] = ["discard", "json-filter", "word-count"];

/// What a plugin is made of, from the root of the workspace.
const INPUTS: [&str; 7] = [
    "Cargo.lock",
    "Cargo.toml",
    "guest-sdk/rust/Cargo.toml",
    "guest-sdk/rust/src",
    "plugins",
    "rust-toolchain.toml",
    "wit",
];

const TARGET: &str = "wasm32-wasip2";

/// The profile in the workspace's manifest.
const PROFILE: &str = "guest";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            for line in reason.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let package = path_from_env("CARGO_MANIFEST_DIR")?;
    let out = path_from_env("OUT_DIR")?;
    let built = match package
        .parent()
        .filter(|root| root.join("plugins/word-count/Cargo.toml").is_file())
    {
        Some(workspace) => {
            for input in INPUTS {
                println!(
                    "cargo::rerun-if-changed={}",
                    workspace.join(input).display()
                );
            }
            let folder = build(workspace, &out)?;
            PLUGINS.map(|name| {
                folder.join(format!(
                    "shardwright_plugin_{}.wasm",
                    name.replace('-', "_")
                ))
            })
        }
        None => {
            println!("cargo::rerun-if-changed=builtin");
            PLUGINS.map(|name| package.join("builtin").join(format!("{name}.wasm")))
        }
    };
    for (name, component) in PLUGINS.iter().zip(built) {
        fs::copy(&component, out.join(format!("{name}.wasm")))
            .map_err(|error| format!("{}: {error}", component.display()))?;
    }
    Ok(())
}

/// Builds all plugins, and gives the folder where they are.
fn build(workspace: &Path, out: &Path) -> Result<PathBuf, String> {
    let rustc = path_from_env("RUSTC")?;
    require_target(&rustc)?;

    // `out` is `<target>/<profile>/build/<package>-<hash>/out`. One folder for all profiles and hashes: the plugins are
    // the same for all of them.
    let target_folder = out
        .ancestors()
        .nth(4)
        .ok_or_else(|| format!("{} is not in a target folder", out.display()))?
        .join("plugins");

    let mut cargo = Command::new(path_from_env("CARGO")?);
    for (name, _) in env::vars_os() {
        if !is_passed_on(&name) {
            cargo.env_remove(name);
        }
    }
    cargo
        .current_dir(workspace)
        .env("RUSTC", rustc)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(workspace)?)
        .args([
            "build",
            "--locked",
            "--quiet",
            "--profile",
            PROFILE,
            "--target",
            TARGET,
        ])
        .arg("--target-dir")
        .arg(&target_folder);
    for name in PLUGINS {
        cargo.args(["--package", &format!("shardwright-plugin-{name}")]);
    }
    let output = cargo
        .output()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "the plugins do not build:\n{}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    Ok(target_folder.join(TARGET).join(PROFILE))
}

/// Whether the environment variable reaches the build of the plugins.
///
/// Flags, wrappers (clippy is one), profiles and target folders are meant for the host; where crates come from holds for
/// both.
fn is_passed_on(name: &OsStr) -> bool {
    const CARGO_KEPT: [&str; 7] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_MAKEFLAGS",
        "CARGO_NET_",
        "CARGO_REGISTRIES_",
        "CARGO_REGISTRY_",
        "CARGO_SOURCE_",
    ];
    const BUILD_SCRIPT: [&str; 6] = [
        "DEBUG",
        "HOST",
        "NUM_JOBS",
        "OPT_LEVEL",
        "OUT_DIR",
        "PROFILE",
    ];
    let Some(name) = name.to_str() else {
        return true;
    };
    if name.starts_with("CARGO") || name.starts_with("__CARGO") {
        return CARGO_KEPT.iter().any(|kept| name.starts_with(kept));
    }
    let is_rust = name.starts_with("RUST") && !name.starts_with("RUSTUP_");
    !(is_rust || name.starts_with("CLIPPY") || name == "TARGET" || BUILD_SCRIPT.contains(&name))
}

/// Flags under which the same sources give the same bytes wherever they are. They also keep out those of a user's
/// configuration.
fn flags(workspace: &Path) -> Result<String, String> {
    let cargo_home = match env::var_os("CARGO_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => env::home_dir()
            .ok_or("there is no home folder")?
            .join(".cargo"),
    };
    let flags = [
        format!(
            "--remap-path-prefix={}=/cargo",
            cargo_home.join("registry/src").display()
        ),
        format!("--remap-path-prefix={}=/shardwright", workspace.display()),
    ];
    Ok(flags.join("\u{1f}"))
}

/// Without this, the first error would be about a missing crate `core`.
fn require_target(rustc: &Path) -> Result<(), String> {
    let libraries = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .and_then(|output| String::from_utf8(output.stdout).map_err(io::Error::other))
        .map_err(|error| format!("{}: {error}", rustc.display()))?;
    if Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    Err(format!(
        "the plugins that the binary carries need Rust's target {TARGET}: run `rustup target add {TARGET}`"
    ))
}

fn path_from_env(name: &str) -> Result<PathBuf, String> {
    env::var_os(name)
        .map(PathBuf::from)
        .ok_or_else(|| format!("cargo did not set {name}"))
}
