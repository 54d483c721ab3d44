//! Finds out which engines are installed, so that tests of missing ones count as ignored. In CI no test is ignored:
//! a missing engine makes it fail.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The library that drives the browser, if `.ci/recipes` has installed it.
const PLAYWRIGHT: &str = "../target/recipes/node_modules/playwright-core";

fn main() {
    println!("cargo::rerun-if-env-changed=CI");
    println!("cargo::rerun-if-env-changed=PATH");
    println!("cargo::rerun-if-changed={PLAYWRIGHT}");
    let ci = env::var_os("CI").is_some();
    for (cfg, variable, program) in [
        ("no_postgres", "INITDB", "initdb"),
        ("no_redis", "REDIS_SERVER", "redis-server"),
        ("no_pgbouncer", "PGBOUNCER", "pgbouncer"),
        ("no_promtool", "PROMTOOL", "promtool"),
        ("no_chromium", "CHROMIUM", "chromium"),
        ("no_nginx", "NGINX", "nginx"),
        ("no_haproxy", "HAPROXY", "haproxy"),
    ] {
        println!("cargo::rustc-check-cfg=cfg({cfg})");
        let is_driven = program != "chromium" || Path::new(PLAYWRIGHT).exists();
        match find(program).filter(|_| ci || is_driven) {
            Some(path) => {
                println!("cargo::rerun-if-changed={}", path.display());
                println!("cargo::rustc-env={variable}={}", path.display());
            }
            None if ci => {}
            None => {
                // So that it is searched again every time.
                println!("cargo::rerun-if-changed=not/{program}");
                println!(
                    "cargo::warning={program} is not here: its tests are ignored. See CONTRIBUTING.md"
                );
                println!("cargo::rustc-cfg={cfg}");
            }
        }
    }
}

/// A program in the path, or in the folders where Debian puts PostgreSQL and the tools of administrators.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = versions.map(|version| version.path().join("bin"));
    let debian = debian.chain([PathBuf::from("/usr/sbin")]);
    env::split_paths(&path).chain(debian).map(|dir| dir.join(program)).find(|path| path.exists())
}
