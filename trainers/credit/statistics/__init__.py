"""From the policy's own statistics."""
