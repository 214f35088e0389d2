"""Why a boot stopped."""
