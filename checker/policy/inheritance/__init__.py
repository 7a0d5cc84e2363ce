"""How a policy that extends others is resolved: only ever tighter, every field with its origin."""
