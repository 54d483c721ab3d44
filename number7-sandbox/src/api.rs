//! The two requests of the REST API.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, Multipart, OriginalUri, Path, Query, Request, State,
        rejection::QueryRejection,
    },
    http::{Method, StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use number7_core::{DocumentType, FileStatus};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Happening, vendor::Vendor};

pub(crate) fn router(vendor: Arc<Vendor>) -> Router {
    let api = Router::new()
        .route("/upload", post(upload))
        .route("/results/{job}", get(result))
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(from_fn_with_state(Arc::clone(&vendor), guard))
        // The vendor does not publish the largest file.
        .layer(DefaultBodyLimit::disable());
    Router::new().nest("/api/v1", api).with_state(vendor)
}

/// Refuses requests as the vendor would, and reports how many are left.
async fn guard(
    State(vendor): State<Arc<Vendor>>,
    method: Method,
    OriginalUri(uri): OriginalUri,
    request: Request,
    next: Next,
) -> Response {
    let refused = |status: StatusCode| {
        let request = format!("{method} {uri}");
        vendor.happens(Happening::Refused { request, status: status.as_u16() });
    };
    if vendor.is_out() {
        refused(StatusCode::SERVICE_UNAVAILABLE);
        return failure(StatusCode::SERVICE_UNAVAILABLE, "the sandbox has an outage");
    }
    let key = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = key.and_then(|value| value.strip_prefix("Bearer "));
    let quota = {
        let mut state = vendor.state();
        let is_right = key.is_some_and(|key| key == state.api_key);
        is_right.then(|| state.window.count(SystemTime::now()))
    };
    let Some(quota) = quota else {
        refused(StatusCode::UNAUTHORIZED);
        return failure(StatusCode::UNAUTHORIZED, "the API key is missing or wrong");
    };
    let mut response = match quota.is_exceeded {
        true => failure(StatusCode::TOO_MANY_REQUESTS, "the plan allows no more requests now"),
        false => next.run(request).await,
    };
    if !response.status().is_success() {
        refused(response.status());
    }
    for (name, value) in [
        ("x-ratelimit-limit", u64::from(quota.limit)),
        ("x-ratelimit-remaining", u64::from(quota.remaining)),
        ("x-ratelimit-reset", quota.reset),
    ] {
        response.headers_mut().insert(name, value.into());
    }
    response
}

#[derive(Deserialize)]
struct DocumentQuery {
    #[serde(rename = "document.type")]
    document_type: String,
    #[serde(rename = "document.version")]
    version: String,
}

async fn upload(
    State(vendor): State<Arc<Vendor>>,
    query: Result<Query<DocumentQuery>, QueryRejection>,
    multipart: Multipart,
) -> Response {
    let malformed = |what: &str| failure(StatusCode::BAD_REQUEST, what);
    let document_type = match query {
        Ok(Query(query)) if query.version == "v1" => DocumentType::from(query.document_type),
        _ => return malformed("document.type and document.version=v1 are needed"),
    };
    if matches!(document_type, DocumentType::Other(_)) {
        return malformed("this document.type is not published");
    }
    match form(multipart).await {
        Ok((file_name, bytes)) => {
            let job = vendor.takes(document_type, file_name, bytes);
            let data = json!({ "jobId": job, "fileStatus": FileStatus::Uploading.as_str() });
            success(&data)
        }
        Err(what) => malformed(&what),
    }
}

/// The file's name and its size. The file itself is not needed.
async fn form(mut multipart: Multipart) -> Result<(String, u64), String> {
    let (mut size, mut file_name, mut file_type) = (None, None, None);
    while let Some(mut field) = multipart.next_field().await.map_err(|error| error.body_text())? {
        match field.name().unwrap_or_default() {
            "file" => {
                let mut bytes = 0;
                while let Some(part) = field.chunk().await.map_err(|error| error.body_text())? {
                    bytes += part.len() as u64;
                }
                size = Some(bytes);
            }
            "fileName" => file_name = Some(field.text().await.map_err(|error| error.body_text())?),
            "fileType" => file_type = Some(field.text().await.map_err(|error| error.body_text())?),
            _ => {}
        }
    }
    match (size, file_name, file_type) {
        (Some(size), Some(name), Some(_)) => Ok((name, size)),
        _ => Err("the form needs file, fileName and fileType".into()),
    }
}

async fn result(State(vendor): State<Arc<Vendor>>, Path(job): Path<String>) -> Response {
    let Some(job) = vendor.state().jobs.get(&job).cloned() else {
        return failure(StatusCode::NOT_FOUND, "there is no such job");
    };
    let data = job.data(vendor.settings.padding);
    let status = data["fileStatus"].as_str().unwrap_or_default().to_owned();
    vendor.happens(Happening::Fetched { job: job.id, status });
    success(&data)
}

fn success(data: &Value) -> Response {
    Json(json!({ "success": true, "data": data })).into_response()
}

/// The vendor does not publish the bodies of errors.
fn failure(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "success": false, "error": { "message": message } }))).into_response()
}
