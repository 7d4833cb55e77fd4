# Run once by the PostgreSQL image, when its data directory is new: a database for each facet that
# has replicas, which no other facet may enter.

for facet in exec interaction; do
    psql --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<SQL
CREATE ROLE $facet LOGIN PASSWORD '$(cat "/passwords/$facet")';
CREATE DATABASE $facet OWNER $facet ENCODING 'UTF8' TEMPLATE template0;
REVOKE CONNECT ON DATABASE $facet FROM PUBLIC;
SQL
done
