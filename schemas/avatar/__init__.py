"""What avatars show: the preset expressions of VRM beside ARKit's blendshapes."""
