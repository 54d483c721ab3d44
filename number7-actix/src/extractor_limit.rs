//! The limits that extractors of actix-web, such as `Bytes` and `Json`, put on a payload.

use std::rc::Rc;

use actix_web::{
    dev::{Extensions, ServiceRequest},
    web::{Data, JsonConfig, PayloadConfig},
};

/// What the strictest of them takes if nobody says otherwise: 256 KiB.
const DEFAULT: usize = 262_144;

/// Lets them take a body that [`Verifier::body_limit`](number7_core::Verifier::body_limit) has let through,
/// unless the app has limits of its own.
pub(crate) fn raise(request: &mut ServiceRequest, bytes: usize) {
    if bytes <= DEFAULT {
        return;
    }
    let mut configs = Extensions::new();
    if !has::<PayloadConfig>(request) {
        configs.insert(PayloadConfig::new(bytes));
    }
    if !has::<JsonConfig>(request) {
        configs.insert(JsonConfig::default().limit(bytes));
    }
    request.add_data_container(Rc::new(configs));
}

fn has<T: 'static>(request: &ServiceRequest) -> bool {
    request.app_data::<T>().is_some() || request.app_data::<Data<T>>().is_some()
}
