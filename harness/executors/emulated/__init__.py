"""Another CPU on this machine, by user-mode QEMU."""
