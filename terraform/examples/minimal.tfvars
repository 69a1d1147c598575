# The smallest installation with every function, for a trial. `protect = false`: `terraform destroy` leaves nothing behind.
region  = "eu-central-1"
protect = false
# Yours: https://checkip.amazonaws.com shows it.
public_access_cidrs = ["203.0.113.7/32"]
