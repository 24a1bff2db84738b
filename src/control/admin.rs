//! x
pub(super) fn router(_c: super::Control) -> axum::Router {
    axum::Router::new()
}
