//! The limits that extractors of actix-web, such as `Bytes` and `Json`, put on a payload.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use actix_web::{
    dev::{Extensions, ServiceRequest},
    web::{Data, JsonConfig, PayloadConfig},
};

use crate::log;

/// What `Bytes` and `String` take if nobody says otherwise: 256 KiB.
const DEFAULT: usize = 262_144;

/// What `Json` takes if nobody says otherwise: 2 MB.
const DEFAULT_OF_JSON: usize = 2_097_152;

/// Lets them take a body that [`Verifier::body_limit`](number7_core::Verifier::body_limit) has let through,
/// unless the app has limits of its own.
pub(crate) fn raise(request: &mut ServiceRequest, bytes: usize) {
    let mut configs = Extensions::new();
    let mut is_empty = true;
    if bytes > DEFAULT && !has::<PayloadConfig>(request) {
        configs.insert(PayloadConfig::new(bytes));
        is_empty = false;
    }
    if bytes > DEFAULT_OF_JSON && !has::<JsonConfig>(request) {
        configs.insert(JsonConfig::default().limit(bytes));
        is_empty = false;
    }
    if !is_empty && !add(request, configs) {
        log::limit_not_raised();
    }
}

fn has<T: 'static>(request: &ServiceRequest) -> bool {
    request.app_data::<T>().is_some() || request.app_data::<Data<T>>().is_some()
}

/// Whether the request takes them. actix-web panics if middleware in front holds a clone of the request, and there is
/// nothing to ask first. It changes nothing before that, so the request is as it was. Where a panic cannot be caught, it
/// is not risked.
fn add(request: &mut ServiceRequest, configs: Extensions) -> bool {
    let add = AssertUnwindSafe(|| request.add_data_container(Rc::new(configs)));
    cfg!(panic = "unwind") && catch_unwind(add).is_ok()
}
