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

/// The default of `Bytes` and `String`: 256 KiB.
const DEFAULT: usize = 262_144;

/// The default of `Json`: 2 MB.
const DEFAULT_OF_JSON: usize = 2_097_152;

/// Lets them accept a body that [`Verifier::body_limit`](number7_core::Verifier::body_limit) allowed, unless the
/// app has its own limits.
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

/// Whether the request accepts them. actix-web panics if middleware in front holds a clone of the request, and
/// offers no way to ask first. It changes nothing before the panic, so the request stays as it was. If panics
/// cannot be caught, this is not tried.
fn add(request: &mut ServiceRequest, configs: Extensions) -> bool {
    let add = AssertUnwindSafe(|| request.add_data_container(Rc::new(configs)));
    cfg!(panic = "unwind") && catch_unwind(add).is_ok()
}
