"""Take data out of the Microsoft Intune Data Warehouse."""

__version__ = "0.1.0"
