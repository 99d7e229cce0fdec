"""The world, behind the ports: each adapter does, none decides."""
