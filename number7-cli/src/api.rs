//! The URL and the key of the vendor's REST API.

use number7_client::{ApiKey, ApiKeyErrorKind, Client, DEFAULT_BASE_URL};

use crate::BoxError;

#[derive(clap::Args)]
pub(crate) struct ApiArgs {
    /// The API: the vendor's, or that of `number7 sandbox`
    #[arg(long, value_name = "URL", env = "NUMBER7_API", default_value = DEFAULT_BASE_URL)]
    api: String,
    /// The environment variable that has the API key
    #[arg(long, value_name = "NAME", default_value = "N7_API_KEY")]
    api_key_env: String,
}

impl ApiArgs {
    pub(crate) fn client(&self) -> Result<Client, BoxError> {
        let key = ApiKey::from_env(&self.api_key_env).map_err(|error| match error.kind() {
            ApiKeyErrorKind::NotSet => BoxError::from(format!(
                "the environment variable {} is not set: export the API key; that of `number7 sandbox` \
                 is \"sandbox\"",
                self.api_key_env
            )),
            _ => error.into(),
        })?;
        Ok(Client::new(key).base_url(&self.api)?)
    }
}
