"""Everything that talks to git and git-annex."""
