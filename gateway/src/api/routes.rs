//! Everything that can be asked of the API, and what a key has to be good for. The router and the document of the API
//! are both made from this table.

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use http::header::WWW_AUTHENTICATE;

use super::{
    Api, ApiKeys, Problem, Scope, code, document, document::About, explain, lookup, order, publish, reply,
    request, revoke, tail, wrong_method,
};

/// One thing that can be asked.
pub(super) struct Route {
    /// The method; a `GET` answers `HEAD`, too.
    pub(super) method: MethodFilter,
    /// The path below `/api/v1`.
    pub(super) path: &'static str,
    /// What a key has to be good for; `None` = no key is needed.
    pub(super) scope: Option<Scope>,
    handler: fn(MethodFilter) -> MethodRouter<Api>,
    /// How the document describes it.
    pub(super) about: fn() -> About,
}

const GET: MethodFilter = MethodFilter::GET;
const POST: MethodFilter = MethodFilter::POST;
const ADMIN: Option<Scope> = Some(Scope::Admin);
const PUBLISH: Option<Scope> = Some(Scope::Publish);
const READ: Option<Scope> = Some(Scope::Read);
const NO_KEY: Option<Scope> = None;

/// A path stands here once: it has one method.
#[rustfmt::skip]
pub(super) const ROUTES: [Route; 14] = [
    route(POST, "/publish", PUBLISH, |m| on(m, publish::one), publish::about_one),
    route(POST, "/publish/batch", PUBLISH, |m| on(m, publish::batch), publish::about_batch),
    route(POST, "/request", PUBLISH, |m| on(m, request::request), request::about),
    route(POST, "/reply", PUBLISH, |m| on(m, reply::reply), reply::about),
    route(POST, "/join", ADMIN, |m| on(m, order::join), order::about_join),
    route(POST, "/leave", ADMIN, |m| on(m, order::leave), order::about_leave),
    route(POST, "/disconnect", ADMIN, |m| on(m, order::disconnect), order::about_disconnect),
    route(POST, "/revoke", ADMIN, |m| on(m, revoke::revoke), revoke::about),
    route(POST, "/explain", READ, |m| on(m, explain::explain), explain::about),
    route(GET, "/rooms/{room}", READ, |m| on(m, lookup::room), lookup::about_room),
    route(GET, "/users/{id}", READ, |m| on(m, lookup::user), lookup::about_user),
    route(GET, "/nodes", READ, |m| on(m, lookup::nodes), lookup::about_nodes),
    route(GET, "/tail", READ, |m| on(m, tail::tail), tail::about),
    route(GET, "/openapi.json", NO_KEY, |m| on(m, document::serve), document::about),
];

const fn route(
    method: MethodFilter,
    path: &'static str,
    scope: Option<Scope>,
    handler: fn(MethodFilter) -> MethodRouter<Api>,
    about: fn() -> About,
) -> Route {
    Route {
        method,
        path,
        scope,
        handler,
        about,
    }
}

/// Puts the API's routes together, each behind the scope that it asks for.
pub fn router(api: Api, keys: &ApiKeys) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let mut methods = (route.handler)(route.method).fallback(wrong_method);
        if let Some(scope) = route.scope {
            let lock = (keys.clone(), scope);
            methods = methods.layer(middleware::from_fn_with_state(lock, authorize));
        }
        router = router.route(route.path, methods);
    }
    router.with_state(api)
}

async fn authorize(State((keys, needed)): State<(ApiKeys, Scope)>, request: Request, next: Next) -> Response {
    match keys.scope(request.headers()) {
        Some(scope) if scope.opens(needed) => next.run(request).await,
        Some(scope) => forbidden(scope, needed).into_response(),
        None => unauthorized(&keys),
    }
}

fn forbidden(scope: Scope, needed: Scope) -> Problem {
    let mut lists: Vec<&str> = Scope::ALL
        .into_iter()
        .filter(|scope| scope.opens(needed))
        .map(Scope::path)
        .collect();
    lists.reverse();
    let detail = format!(
        "this needs a key of scope `{}`, one of {}; the one that was sent has scope `{}`",
        needed.as_str(),
        lists.join(" or "),
        scope.as_str(),
    );
    Problem::new(&code::FORBIDDEN, detail)
}

fn unauthorized(keys: &ApiKeys) -> Response {
    let detail = if keys.is_empty() {
        "no key opens this API: set api.keys in the configuration"
    } else {
        "send one of the configured API keys as `Authorization: Bearer KEY`"
    };
    let mut response = Problem::new(&code::UNAUTHORIZED, detail).into_response();
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
    response
}
