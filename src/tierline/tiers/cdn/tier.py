"""CDN: points of presence near the clients that keep copies of assets and cacheable answers."""

from __future__ import annotations

from tierline.intent import Duration, Intent, Size, setting


class CDN(Intent):
    """Points of presence that pull from the next tier and keep what its headers allow."""

    places: tuple[str, ...] = setting(
        "Regions with a point of presence; default: the stack's own region.", default=()
    )
    assets: str | None = setting("Folder with static files, served from the assets origin.", default=None)
    assets_ttl: Duration = setting("How long a place and a browser keep an asset.", default="1h")
    size: Size = setting("Disk that one place may use for copies.", default="256MiB")
    raw: str | None = setting(
        "Engine configuration added as it is (for nginx: into the server block).", default=None
    )

    def features(self) -> dict[str, str]:
        """What this intent asks of its system, by feature, with the field that asks for it."""
        asked = {"pull": "CDN()", "tls": "CDN()"}
        if self.assets is not None:
            asked["assets"] = f"assets={self.assets!r}"
        return asked
