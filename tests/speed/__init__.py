"""Time and memory, measured: the product beside RecBole in one run, and how both grow. Run by `tox -e speed`."""

SHIPPED = "RecBole as shipped"
WITHOUT_ANOMALY_DETECTION = "RecBole, anomaly detection off"
