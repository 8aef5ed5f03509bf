"""Pages below /keys/."""

from django.urls import path

from keys.views import exports, imports, keys, places, providers, rotations, seals, stores, versions

app_name = "keys"
_version = "<uuid:key_id>/versions/<int:number>/"
_rotation = "rotations/<uuid:rotation_id>/"
_provider = "providers/<slug:alias>/"
_import = "imports/<uuid:import_id>/"
_export = "exports/<uuid:export_id>/"
_finding = _provider + "differences/<int:finding_id>/"
urlpatterns = [
    path("", keys.KeyList.as_view(), name="key-list"),
    path("hierarchy/", keys.Hierarchy.as_view(), name="hierarchy"),
    path("new/", keys.KeyCreate.as_view(), name="key-create"),
    path("new/import/", imports.ImportNew.as_view(), name="import-new"),
    path("imports/", imports.ImportList.as_view(), name="import-list"),
    path(_import, imports.ImportDetail.as_view(), name="import-detail"),
    path(_import + "upload/", imports.ImportUpload.as_view(), name="import-upload"),
    path(_import + "components/<int:number>/", imports.ComponentEnter.as_view(), name="component-enter"),
    path(_import + "abort/", imports.ImportAbort.as_view(), name="import-abort"),
    path(_export, exports.ExportDetail.as_view(), name="export-detail"),
    path(_export + "collect/", exports.ExportCollect.as_view(), name="export-collect"),
    path(_export + "erase/", exports.ExportErase.as_view(), name="export-erase"),
    path("<uuid:key_id>/import/", imports.ImportOpen.as_view(), name="import-open"),
    path("<uuid:key_id>/export/", exports.ExportRequest.as_view(), name="export-request"),
    path("<uuid:key_id>/never-export/", exports.WithdrawExportability.as_view(), name="export-withdraw"),
    path("<uuid:key_id>/", keys.KeyDetail.as_view(), name="key-detail"),
    path("<uuid:key_id>/policy/", keys.PolicyEdit.as_view(), name="policy-edit"),
    path("<uuid:key_id>/rotate/", rotations.RotationRequest.as_view(), name="rotation-request"),
    path(_version + "suspend/", versions.Suspend.as_view(), name="version-suspend"),
    path(_version + "resume/", versions.Resume.as_view(), name="version-resume"),
    path(_version + "activate/", versions.Activate.as_view(), name="version-activate"),
    path(_version + "compromise/", versions.Compromise.as_view(), name="version-compromise"),
    path(_version + "delete/", versions.ScheduleDeletion.as_view(), name="version-delete"),
    path(_version + "delete/confirm/", versions.ConfirmDeletion.as_view(), name="version-delete-confirm"),
    path(_version + "keep/", versions.CancelDeletion.as_view(), name="version-keep"),
    path("rotations/", rotations.RotationList.as_view(), name="rotation-list"),
    path(_rotation, rotations.RotationDetail.as_view(), name="rotation-detail"),
    path(_rotation + "pause/", rotations.Pause.as_view(), name="rotation-pause"),
    path(_rotation + "resume/", rotations.ResumeRotation.as_view(), name="rotation-resume"),
    path(_rotation + "cancel/", rotations.Cancel.as_view(), name="rotation-cancel"),
    path(_rotation + "throttle/", rotations.Throttle.as_view(), name="rotation-throttle"),
    path(_rotation + "retry/", rotations.Retry.as_view(), name="rotation-retry"),
    path(_rotation + "decommission/", rotations.Decommission.as_view(), name="rotation-decommission"),
    path(_rotation + "keep/", rotations.CancelDecommission.as_view(), name="rotation-keep"),
    path(_rotation + "items/<int:item_id>/give-up/", rotations.DecideFailed.as_view(), name="failed-item-decide"),
    path("places/", places.Places.as_view(), name="places"),
    path("providers/", providers.ProviderList.as_view(), name="provider-list"),
    path("providers/new/", providers.ProviderKinds.as_view(), name="provider-kinds"),
    path("providers/new/<slug:kind>/", providers.ProviderCreate.as_view(), name="provider-create"),
    path(_provider, providers.ProviderDetail.as_view(), name="provider-detail"),
    path(_provider + "edit/", providers.ProviderEdit.as_view(), name="provider-edit"),
    path(_provider + "test/", providers.ProviderTest.as_view(), name="provider-test"),
    path(_provider + "compare/", providers.ProviderCompare.as_view(), name="provider-compare"),
    path(_provider + "disable/", providers.ProviderDisable.as_view(), name="provider-disable"),
    path(_provider + "enable/", providers.ProviderEnable.as_view(), name="provider-enable"),
    path(_finding + "ignore/", providers.FindingIgnore.as_view(), name="finding-ignore"),
    path(_finding + "mend/", providers.FindingMend.as_view(), name="finding-mend"),
    path(_finding + "adopt/", providers.FindingAdopt.as_view(), name="finding-adopt"),
    path("provider-work/<uuid:intent_id>/retry/", providers.WorkRetry.as_view(), name="work-retry"),
    path("seals/", seals.SealList.as_view(), name="seal-list"),
    path("seals/shares/", seals.SealShares.as_view(), name="seal-shares"),
    path("seals/now/", seals.SealNow.as_view(), name="seal-now"),
    path("seals/provider/", seals.SealProvider.as_view(), name="seal-provider"),
    path("seals/<uuid:seal_id>/check/", seals.SealCheck.as_view(), name="seal-check"),
    path("seals/<uuid:seal_id>/retire/", seals.SealRetire.as_view(), name="seal-retire"),
    path("stores/", stores.StoreList.as_view(), name="store-list"),
    path("stores/seal/", stores.StoreSeal.as_view(), name="store-seal"),
    path("stores/new/", stores.StoreCreate.as_view(), name="store-create"),
    path("stores/<uuid:store_id>/", stores.StoreDetail.as_view(), name="store-detail"),
    path("stores/<uuid:store_id>/census/", stores.StoreCensus.as_view(), name="store-census"),
    path("stores/<uuid:store_id>/check/", stores.StoreCheck.as_view(), name="store-check"),
    path("stores/<uuid:store_id>/deregister/", stores.StoreDeregister.as_view(), name="store-deregister"),
    path("census/", stores.Census.as_view(), name="census"),
]
