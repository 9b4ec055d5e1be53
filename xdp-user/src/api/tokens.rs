//! Routes of tokens.

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use axum::Json;
use axum::extract::State;

use super::openapi::about;
use super::refused::{Answer, Given};
use super::types::{AddToken, NewToken, RevokeToken, TokenList, TokenView};
use crate::control::Handle;

pub(super) fn routes() -> ApiRouter<Handle> {
    ApiRouter::new()
        .api_route(
            "/v1/tokens",
            get_with(list, |it| {
                about(it, "listTokens", "Tokens, without what is secret")
            })
            .post_with(add, |it| {
                about(it, "addToken", "Make a token; it is shown this once")
            }),
        )
        .api_route(
            "/v1/tokens/revoke",
            post_with(revoke, |it| about(it, "revokeToken", "End a token now")),
        )
}

async fn list(State(control): State<Handle>) -> Answer<TokenList> {
    Ok(Json(control.call(|c| Ok(c.list_tokens())).await?))
}

async fn add(State(control): State<Handle>, Given(request): Given<AddToken>) -> Answer<NewToken> {
    Ok(Json(control.call(move |c| c.add_token(request)).await?))
}

async fn revoke(
    State(control): State<Handle>,
    Given(request): Given<RevokeToken>,
) -> Answer<TokenView> {
    Ok(Json(control.call(move |c| c.revoke_token(&request)).await?))
}
