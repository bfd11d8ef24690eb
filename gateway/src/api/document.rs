//! The OpenAPI document of the API, made from the table of routes and from the types that they read and answer.

use std::sync::LazyLock;

use axum::{
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ComponentsBuilder, ContentBuilder, HttpMethod, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, Ref,
        RefOr, Required, ResponseBuilder, Schema,
        example::ExampleBuilder,
        path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathsBuilder},
        request_body::RequestBodyBuilder,
        schema::{ObjectBuilder, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use super::{
    Problem, Scope,
    code::{self, Code},
    problem::Document,
    routes::{ROUTES, Route},
};

/// Where the API is on the operations listener.
const BASE: &str = "/api/v1";
const SECURITY: &str = "key";

static TEXT: LazyLock<String> =
    LazyLock::new(|| serde_json::to_string_pretty(&document()).unwrap_or_default());

/// `GET /api/v1/openapi.json`. Needs no key: it holds nothing that is not in the documentation.
pub(super) async fn serve() -> Response {
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

/// How the document describes a route.
pub(super) struct About {
    id: &'static str,
    summary: &'static str,
    text: &'static str,
    parameters: Vec<Parameter>,
    body: Option<(RefOr<Schema>, &'static str)>,
    answer: Option<(RefOr<Schema>, Value)>,
    answered_as: &'static str,
    codes: Vec<&'static Code>,
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl About {
    /// The name for programs and the one for people.
    pub(super) fn new(id: &'static str, summary: &'static str) -> About {
        About {
            id,
            summary,
            text: "",
            parameters: Vec::new(),
            body: None,
            answer: None,
            answered_as: "application/json",
            codes: Vec::new(),
            schemas: Vec::new(),
        }
    }

    /// What is promised.
    pub(super) fn text(self, text: &'static str) -> About {
        About { text, ..self }
    }

    /// What is sent; the example is the text of a body.
    pub(super) fn body<T: ToSchema>(mut self, example: &'static str) -> About {
        self.body = Some((self.schema::<T>(), example));
        self
    }

    /// What is answered; the example is an answer.
    pub(super) fn answer<T: ToSchema + Serialize>(mut self, example: T) -> About {
        let schema = self.schema::<T>();
        self.answer = Some((schema, serde_json::to_value(example).unwrap_or_default()));
        self
    }

    /// As [`About::answer`], for a stream of lines of which the example is one.
    pub(super) fn lines<T: ToSchema + Serialize>(self, example: T) -> About {
        About {
            answered_as: "application/x-ndjson",
            ..self.answer(example)
        }
    }

    /// What is answered instead.
    pub(super) fn code(mut self, code: &'static Code) -> About {
        self.codes.push(code);
        self
    }

    /// As [`About::code`], for several.
    pub(super) fn codes(mut self, codes: &'static [Code]) -> About {
        self.codes.extend(codes);
        self
    }

    /// A part of the path.
    pub(super) fn in_path(self, name: &str, description: &str, example: &str) -> About {
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(adapter_redis::MAX_NAME_BYTES));
        self.parameter(name, ParameterIn::Path, description, schema, example.into())
    }

    /// A number in the query, from 1 on.
    pub(super) fn in_query(self, name: &str, description: &str, most: usize) -> About {
        let schema = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(most as f64));
        self.parameter(name, ParameterIn::Query, description, schema, json!(10))
    }

    /// A text in the query.
    pub(super) fn text_in_query(self, name: &str, description: &str, example: &str) -> About {
        let schema = ObjectBuilder::new().schema_type(Type::String);
        self.parameter(name, ParameterIn::Query, description, schema, example.into())
    }

    fn parameter(
        mut self,
        name: &str,
        place: ParameterIn,
        description: &str,
        schema: ObjectBuilder,
        example: Value,
    ) -> About {
        let required = match place {
            ParameterIn::Path => Required::True,
            _ => Required::False,
        };
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(place)
            .required(required)
            .description(Some(description))
            .schema(Some(schema.build()))
            .example(Some(example));
        self.parameters.push(parameter.build());
        self
    }

    /// A reference to the type's schema, which is kept for the document.
    fn schema<T: ToSchema>(&mut self) -> RefOr<Schema> {
        T::schemas(&mut self.schemas);
        let name = T::name().into_owned();
        self.schemas.push((name.clone(), T::schema()));
        Ref::from_schema_name(name).into()
    }
}

fn document() -> OpenApi {
    let problem = (Document::name().into_owned(), Document::schema());
    let mut components = ComponentsBuilder::new()
        .schemas_from_iter([problem])
        .security_scheme(SECURITY, security());
    let mut paths = PathsBuilder::new();
    for route in ROUTES {
        let about = (route.about)();
        components = components.schemas_from_iter(about.schemas.iter().cloned());
        let item = PathItem::new(method(&route), operation(&route, about));
        paths = paths.path(format!("{BASE}{}", route.path), item);
    }
    let info = InfoBuilder::new()
        .title("Roomcast")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "The HTTP API of a node's operations listener, for backends. Errors are problem documents (RFC 9457) with \
             a stable `code`; that of a path that does not exist is `not_found`, that of another method \
             `method_not_allowed`. Answers may get more fields; whoever reads them ignores what it does not know.",
        ));
    OpenApiBuilder::new()
        .info(info.build())
        .paths(paths.build())
        .components(Some(components.build()))
        .build()
}

fn method(route: &Route) -> HttpMethod {
    if route.method == axum::routing::MethodFilter::GET {
        HttpMethod::Get
    } else {
        HttpMethod::Post
    }
}

fn security() -> SecurityScheme {
    let lists: Vec<String> = Scope::ALL
        .into_iter()
        .map(|scope| format!("`{}` for those of `{}`", scope.as_str(), scope.path()))
        .collect();
    let text = format!(
        "One of the configured API keys. A key has one scope: {}. `{}` opens everything.",
        lists.join(", "),
        Scope::Admin.as_str()
    );
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(text));
    SecurityScheme::Http(bearer.build())
}

fn operation(route: &Route, about: About) -> Operation {
    let needs = match route.scope {
        None => "Needs no key.".to_owned(),
        Some(Scope::Admin) => "Needs a key of scope `admin`.".to_owned(),
        Some(scope) => format!("Needs a key of scope `{}` or `admin`.", scope.as_str()),
    };
    let mut operation = OperationBuilder::new()
        .operation_id(Some(about.id))
        .summary(Some(about.summary))
        .description(Some(format!("{} {needs}", about.text).trim()))
        .response("200", answer(about.answer, about.answered_as));
    for parameter in about.parameters {
        operation = operation.parameter(parameter);
    }
    if let Some((schema, example)) = about.body {
        let content = ContentBuilder::new()
            .schema(Some(schema))
            .example(serde_json::from_str(example).ok());
        let body = RequestBodyBuilder::new()
            .required(Some(Required::True))
            .content("application/json", content.build());
        operation = operation.request_body(Some(body.build()));
    }
    let mut codes = about.codes;
    if let Some(scope) = route.scope {
        // Not a scope of OAuth: since OpenAPI 3.1 a requirement may name roles, whatever the scheme.
        operation = operation.security(SecurityRequirement::new(SECURITY, [scope.as_str()]));
        codes.extend([&code::UNAUTHORIZED, &code::FORBIDDEN]);
    }
    let mut statuses: Vec<_> = codes.iter().map(|code| code.status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    for status in statuses {
        let codes = codes.iter().filter(|code| code.status == status);
        operation = operation.response(status.as_str(), refusal(codes.copied()));
    }
    operation.build()
}

fn answer(answer: Option<(RefOr<Schema>, Value)>, kind: &str) -> ResponseBuilder {
    let content = match answer {
        Some((schema, example)) => ContentBuilder::new().schema(Some(schema)).example(Some(example)),
        None => ContentBuilder::new(),
    };
    ResponseBuilder::new()
        .description("Done.")
        .content(kind, content.build())
}

/// A problem; each code is an example of its own.
fn refusal(codes: impl Iterator<Item = &'static Code>) -> ResponseBuilder {
    let (mut names, mut examples) = (Vec::new(), Vec::new());
    for code in codes {
        names.push(format!("`{}`", code.name));
        let document = Problem::new(code, code.meaning).document();
        let example = ExampleBuilder::new()
            .summary(code.meaning)
            .value(serde_json::to_value(document).ok());
        examples.push((code.name, example.build()));
    }
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(Document::name())))
        .examples_from_iter(examples);
    ResponseBuilder::new()
        .description(format!("A problem with the code {}.", names.join(", ")))
        .content("application/problem+json", content.build())
}

/// The document about itself.
pub(super) fn about() -> About {
    About::new("openapi", "This document").text("OpenAPI 3.1.")
}

#[cfg(test)]
mod tests;
