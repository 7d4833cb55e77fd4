"""The on-disk format of ext4, as far as this project writes and reads it.

Source: the Linux kernel's Documentation/filesystems/ext4 (the format's description) and, for
what is checked, the behaviour of e2fsck. The file systems made here have 4 KiB blocks, extents,
256-byte inodes, no 64-bit block numbers and no metadata checksums beyond the group descriptors'
CRC-16: a guest spends no time on them, and the VMDK below a layer never changes.
"""
