//! Serving until told to stop.

use std::future::Future;
use std::io;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use tokio::net::TcpListener;

use super::connection::{Bounded, Connection};

/// Serves `router` on `listener`. When `shutdown` resolves no further connection is accepted, and this resolves when
/// the requests under way are answered; the caller sets the limit of that wait.
///
/// # Errors
/// What the listener said.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    // the extension under its own name: layers further in need not know how it came here
    let router = router.layer(from_fn(async |mut request: Request, next: Next| {
        if let Some(ConnectInfo(connection)) = request.extensions_mut().remove::<ConnectInfo<Connection>>() {
            request.extensions_mut().insert(connection);
        }
        next.run(request).await
    }));
    axum::serve(Bounded::new(listener), router.into_make_service_with_connect_info::<Connection>())
        .with_graceful_shutdown(shutdown)
        .await
}
