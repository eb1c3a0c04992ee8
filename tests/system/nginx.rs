//! An nginx of our own.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to listen, and how often that is looked for.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// Where its address stands in a configuration.
pub(crate) const LISTEN: &str = "listen 80;";

/// A running nginx.
pub(crate) struct Nginx {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Nginx {
    /// Starts it with these servers. Its files are below the folder.
    pub(crate) fn start(servers: &str, folder: &Path) -> Self {
        let folder = folder.join("nginx");
        std::fs::create_dir(&folder).expect("the folder can be written to");
        // It takes no port 0 and tells none.
        let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = free.local_addr().expect("it has an address");
        drop(free);
        let servers = servers.replace(LISTEN, &format!("listen {address};"));
        let config = format!(
            "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log error.log info;\n\
             events {{}}\nhttp {{\naccess_log access.log;\nclient_body_temp_path body;\n\
             proxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\nuwsgi_temp_path uwsgi;\n\
             scgi_temp_path scgi;\n{servers}\n}}\n"
        );
        std::fs::write(folder.join("nginx.conf"), config).expect("the folder can be written to");
        let process = Command::new(program())
            .arg("-p")
            .arg(&folder)
            .args(["-c", "nginx.conf", "-e", "error.log"])
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx starts; `cargo xtask setup` installs it");
        let nginx = Self { process, address };
        let begun = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            let log = || std::fs::read_to_string(folder.join("error.log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "nginx does not listen: {}", log());
            std::thread::sleep(PAUSE);
        }
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Debian has it where not everybody's PATH leads.
fn program() -> PathBuf {
    let sbin = PathBuf::from("/usr/sbin/nginx");
    if sbin.is_file() { sbin } else { "nginx".into() }
}
