//! The daemon's side: what each route does.

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use axum::Json;
use axum::extract::{DefaultBodyLimit, State};

use super::outcome::{Change, Noted};
use super::refused::{Answer, Asked, Given};
use super::types::{
    AddEntries, Apply, ApplyReport, AuditQuery, AuditTrail, BanList, ChangeReport, ClassList,
    EntryPage, EntryQuery, ExplainQuery, Explanation, LiftBans, LiftReport, LimitList, ListKind,
    PendingStatus, RemoveEntries, SetLimits, SourceList, SourceQuery, Status,
};
use super::{kept, openapi::about, stream, tokens, transfer};
use crate::control::{Control, Handle};

/// Largest body of any request but an import.
const MAX_BODY: usize = 4 << 20;

/// The routes of everything that is in the API's document.
pub(super) fn routes() -> ApiRouter<Handle> {
    ApiRouter::new()
        .api_route(
            "/v1/status",
            get_with(status, |it| {
                about(it, "status", "How the daemon is, with every counter")
            }),
        )
        .api_route(
            "/v1/allow",
            get_with(list_allow, |it| {
                about(it, "listAllow", "Entries of the allowlist, in pages")
            })
            .post_with(add_allow, |it| {
                about(it, "addAllow", "Add to the allowlist")
            }),
        )
        .api_route(
            "/v1/allow/remove",
            post_with(remove_allow, |it| {
                about(it, "removeAllow", "Remove from the allowlist")
            }),
        )
        .api_route(
            "/v1/block",
            get_with(list_block, |it| {
                about(it, "listBlock", "Entries of the blocklist, in pages")
            })
            .post_with(add_block, |it| {
                about(it, "addBlock", "Add to the blocklist")
            }),
        )
        .api_route(
            "/v1/block/remove",
            post_with(remove_block, |it| {
                about(it, "removeBlock", "Remove from the blocklist")
            }),
        )
        .api_route(
            "/v1/bans",
            get_with(bans, |it| about(it, "listBans", "Bans in force")),
        )
        .api_route(
            "/v1/bans/lift",
            post_with(lift, |it| about(it, "liftBans", "End bans")),
        )
        .api_route(
            "/v1/limits",
            get_with(limits, |it| {
                about(
                    it,
                    "listLimits",
                    "Limits in force, by prefix, and where they come from",
                )
            })
            .put_with(set_limits, |it| {
                about(
                    it,
                    "setLimits",
                    "Set limits until they are reset, over restarts and reloads",
                )
            }),
        )
        .api_route(
            "/v1/classes",
            get_with(classes, |it| {
                about(
                    it,
                    "listClasses",
                    "Service classes with their states and counters",
                )
            }),
        )
        .api_route(
            "/v1/sources",
            get_with(sources, |it| {
                about(it, "listSources", "The first sources by an order")
            }),
        )
        .api_route(
            "/v1/explain",
            get_with(explain, |it| {
                about(
                    it,
                    "explain",
                    "What would happen to a packet, stage by stage",
                )
            }),
        )
        .api_route(
            "/v1/events",
            get_with(stream::events, |it| {
                about(
                    it,
                    "events",
                    "What happened, and with `follow` what happens: one JSON object on each line",
                )
            }),
        )
        .api_route(
            "/v1/capture",
            get_with(stream::capture, |it| {
                about(
                    it,
                    "capture",
                    "Sampled packets as they come: one JSON object on each line",
                )
            }),
        )
        .api_route(
            "/v1/audit",
            get_with(audit, |it| {
                about(it, "audit", "Who changed what, the latest first")
            }),
        )
        .api_route(
            "/v1/apply",
            post_with(apply, |it| {
                about(
                    it,
                    "apply",
                    "Put a configuration in force, or see what that would change",
                )
            }),
        )
        .api_route(
            "/v1/confirm",
            post_with(confirm, |it| {
                about(
                    it,
                    "confirm",
                    "Keep the configuration that would go by itself",
                )
            }),
        )
        .api_route(
            "/v1/rollback",
            post_with(rollback, |it| {
                about(it, "rollback", "Go back to the configuration before")
            }),
        )
        .merge(kept::routes())
        .merge(tokens::routes())
        .merge(transfer::routes())
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

async fn audit(
    State(control): State<Handle>,
    Asked(query): Asked<AuditQuery>,
) -> Answer<AuditTrail> {
    Ok(Json(control.call(move |c| c.audit_trail(&query)).await?))
}

async fn status(State(control): State<Handle>) -> Answer<Status> {
    let status = control.call(|c| {
        // Not in `status` itself, which scrapes read as well: it asks the kernel for routes.
        let reach = c.reach();
        c.status().map(|status| Status { reach, ..status })
    });
    Ok(Json(status.await?))
}

async fn list_allow(
    State(control): State<Handle>,
    Asked(query): Asked<EntryQuery>,
) -> Answer<EntryPage> {
    Ok(Json(
        control
            .call(move |c| c.list_entries(ListKind::Allow, &query))
            .await?,
    ))
}

async fn list_block(
    State(control): State<Handle>,
    Asked(query): Asked<EntryQuery>,
) -> Answer<EntryPage> {
    Ok(Json(
        control
            .call(move |c| c.list_entries(ListKind::Block, &query))
            .await?,
    ))
}

async fn add_allow(
    State(control): State<Handle>,
    Given(request): Given<AddEntries>,
) -> Change<ChangeReport> {
    Ok(Noted(
        control
            .call(move |c| c.add_entries(ListKind::Allow, request))
            .await?,
    ))
}

async fn add_block(
    State(control): State<Handle>,
    Given(request): Given<AddEntries>,
) -> Change<ChangeReport> {
    Ok(Noted(
        control
            .call(move |c| c.add_entries(ListKind::Block, request))
            .await?,
    ))
}

async fn remove_allow(
    State(control): State<Handle>,
    Given(request): Given<RemoveEntries>,
) -> Change<ChangeReport> {
    Ok(Noted(
        control
            .call(move |c| c.remove_entries(ListKind::Allow, &request))
            .await?,
    ))
}

async fn remove_block(
    State(control): State<Handle>,
    Given(request): Given<RemoveEntries>,
) -> Change<ChangeReport> {
    Ok(Noted(
        control
            .call(move |c| c.remove_entries(ListKind::Block, &request))
            .await?,
    ))
}

async fn bans(State(control): State<Handle>) -> Answer<BanList> {
    Ok(Json(control.call(|c| c.list_bans()).await?))
}

async fn lift(
    State(control): State<Handle>,
    Given(request): Given<LiftBans>,
) -> Change<LiftReport> {
    Ok(Noted(control.call(move |c| c.lift_bans(&request)).await?))
}

async fn limits(State(control): State<Handle>) -> Answer<LimitList> {
    Ok(Json(control.call(|c| c.list_limits()).await?))
}

async fn set_limits(
    State(control): State<Handle>,
    Given(request): Given<SetLimits>,
) -> Answer<LimitList> {
    Ok(Json(control.call(move |c| c.set_limits(request)).await?))
}

async fn classes(State(control): State<Handle>) -> Answer<ClassList> {
    Ok(Json(control.call(|c| c.list_classes()).await?))
}

async fn sources(
    State(control): State<Handle>,
    Asked(query): Asked<SourceQuery>,
) -> Answer<SourceList> {
    Ok(Json(control.call(move |c| c.list_sources(&query)).await?))
}

async fn explain(
    State(control): State<Handle>,
    Asked(query): Asked<ExplainQuery>,
) -> Answer<Explanation> {
    Ok(Json(control.call(move |c| c.explain(&query)).await?))
}

async fn confirm(State(control): State<Handle>) -> Answer<PendingStatus> {
    Ok(Json(control.call(Control::confirm).await?))
}

async fn rollback(State(control): State<Handle>) -> Answer<ApplyReport> {
    Ok(Json(control.call(Control::roll_back).await?))
}

async fn apply(State(control): State<Handle>, Given(request): Given<Apply>) -> Answer<ApplyReport> {
    Ok(Json(control.call(move |c| c.apply(&request)).await?))
}
