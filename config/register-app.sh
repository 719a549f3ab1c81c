#!/bin/sh
# Registers postbridge in your Entra tenant with the Azure CLI (az login first), and prints the
# client_id for the [entra] section of postbridge.toml.
#
# It makes a public client (no secret), with the redirect http://localhost that the sign-in uses, and
# names delegated permissions only: postbridge never acts without a signed-in user.
#
# Usage: register-app.sh [NAME] [--consent]
#   --consent   also grant the permissions for all users of the tenant (needs an administrator)
set -eu

name=postbridge
consent=no
for argument; do
  case $argument in
    --consent) consent=yes ;;
    -*) echo "usage: $0 [NAME] [--consent]" >&2; exit 64 ;;
    *) name=$argument ;;
  esac
done
command -v az >/dev/null || { echo "$0: the Azure CLI (az) is not installed" >&2; exit 69; }

# Microsoft Graph, and its delegated permissions by id (Graph: permissions reference).
permissions='[{
  "resourceAppId": "00000003-0000-0000-c000-000000000000",
  "resourceAccess": [
    {"type": "Scope", "id": "37f7f235-527c-4136-accd-4a02d197296e"},
    {"type": "Scope", "id": "14dad69e-099b-42c9-810b-d002981feec1"},
    {"type": "Scope", "id": "64a6cdd6-aab1-4aaf-94b8-3cc8405e90d0"},
    {"type": "Scope", "id": "7427e0e9-2fba-42fe-b0c0-848c9e6a8182"},
    {"type": "Scope", "id": "e1fe6dd8-ba31-4d61-89e7-88639da4683d"},
    {"type": "Scope", "id": "e383f46e-2787-4529-855e-0e479a3ffac0"},
    {"type": "Scope", "id": "024d486e-b451-40bb-833d-3e66d98c5c73"},
    {"type": "Scope", "id": "1ec239c2-d7c9-4623-a91a-a9775856bb36"}
  ]
}]'
# in this order: openid profile email offline_access User.Read Mail.Send Mail.ReadWrite
# Calendars.ReadWrite

client_id=$(az ad app create \
  --display-name "$name" \
  --sign-in-audience AzureADMyOrg \
  --is-fallback-public-client true \
  --public-client-redirect-uris http://localhost \
  --required-resource-accesses "$permissions" \
  --query appId --output tsv)
az ad sp create --id "$client_id" --output none
if [ "$consent" = yes ]; then
  az ad app permission admin-consent --id "$client_id"
fi

cat <<EOF
[entra]
client_id = "$client_id"
tenant = "$(az account show --query tenantId --output tsv)"
EOF
