//! The Unix socket: who is at the other end is told by the kernel.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use axum::{Extension, Router};
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::Context;
use super::caller::{Access, Caller};
use super::gate;
use crate::config::SocketMode;
use crate::http::serve;

/// Why the socket could not be opened.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Another gateway answers there: it uses the same data directory, or the same socket path.
    #[error("{0}: another gateway is listening on it")]
    InUse(PathBuf),
    /// Something that is not a socket is in the way and is left alone.
    #[error("{0}: there is a file that is not a socket; remove it or choose another `admin.socket`")]
    Occupied(PathBuf),
    /// The system refused.
    #[error("{path}: {cause}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

/// Opens the socket; one that a dead gateway left behind is replaced.
pub fn bind(path: &Path, mode: SocketMode) -> Result<UnixListener, SocketError> {
    let failed = |cause| SocketError::Io { path: path.to_owned(), cause };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::Occupied(path.to_owned())),
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(SocketError::InUse(path.to_owned()));
        }
        Ok(_) => fs::remove_file(path).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let bits = match mode {
        SocketMode::Owner => 0o600,
        SocketMode::Group => 0o660,
    };
    // Whoever connects before this line is still asked who it is: the mode is a second fence, not the first.
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).map_err(failed)?;
    Ok(listener)
}

/// Serves the socket until `stop`, then removes it.
pub(super) async fn run(listener: UnixListener, context: Context, stop: CancellationToken) {
    let router = gate::router(&context);
    let limits = context.limits();
    let socket = context.config.admin.socket.clone();
    serve(listener, limits, stop, |stream| std::future::ready(open(stream, &context, &router))).await;
    // A socket that stays behind is replaced at the next start.
    let _ = fs::remove_file(socket);
}

fn open(stream: UnixStream, context: &Context, router: &Router) -> Option<(UnixStream, Router)> {
    let peer = stream.peer_cred().ok()?.uid();
    let own = rustix::process::geteuid().as_raw();
    let caller = Caller::local(peer, own, &context.config.admin);
    Some((stream, router.clone().layer(Extension(Access::Proven(caller)))))
}
