"""The tables and functions of the lease database, and how an older one becomes this one."""

from __future__ import annotations

VERSION = 3

# What ``migrate_database`` runs to come from the version before. Later versions add their own; a
# step that was ever released stays as it is.
#
# A row stays when its address comes free, without an owner, so that every daemon hears of it by
# its ``version``. All writers take turns by one lock, held up to the commit: so versions come in
# the order of commits, "all rows above the version that I know" leaves none out, and what ``save``
# has looked up still holds when it writes. The constraints hold whatever else writes here.
#
# ``expires`` is in seconds of the lease clock, the database's own clock less ``clock.drift``, which
# a daemon corrects that sees the clock jump; NULL: never. ``seconds`` NULL: for ever.
STEPS: tuple[str, ...] = (
    """
    CREATE SCHEMA IF NOT EXISTS pybootd;
    CREATE TABLE pybootd.schema (version integer NOT NULL);
    INSERT INTO pybootd.schema VALUES (0);
    CREATE TABLE pybootd.clock (drift double precision NOT NULL);
    INSERT INTO pybootd.clock VALUES (0);
    CREATE SEQUENCE pybootd.lease_version;
    CREATE TABLE pybootd.lease (
        address inet PRIMARY KEY,
        owner bytea UNIQUE,
        mac bytea NOT NULL DEFAULT '',
        client_id bytea,
        state text NOT NULL
            CHECK (state IN ('offered', 'bound', 'released', 'declined', 'free')),
        expires double precision,
        seconds double precision,
        hostname text NOT NULL DEFAULT '',
        uuid uuid,
        booted boolean NOT NULL DEFAULT false,
        version bigint NOT NULL,
        writer text NOT NULL,
        CHECK ((owner IS NULL) = (state IN ('declined', 'free')))
    );
    CREATE INDEX lease_by_version ON pybootd.lease (version);
    """,
    """
    -- what each daemon says of itself and of the boots that it saw, for those who look on
    CREATE TABLE pybootd.daemon (
        name text PRIMARY KEY,
        version text NOT NULL,
        started double precision NOT NULL,
        seen double precision NOT NULL,
        counts jsonb NOT NULL
    );
    CREATE TABLE pybootd.boot (
        daemon text NOT NULL REFERENCES pybootd.daemon ON DELETE CASCADE,
        machine text NOT NULL,
        seen double precision NOT NULL,
        "row" jsonb NOT NULL,
        PRIMARY KEY (daemon, machine)
    );
    CREATE INDEX boot_by_seen ON pybootd.boot (seen);
    """,
    """
    -- a client may have a lease in each network (RFC 2131 2.1), and no more: ``write`` sees to that
    ALTER TABLE pybootd.lease DROP CONSTRAINT lease_owner_key;
    CREATE INDEX lease_by_owner ON pybootd.lease (owner);
    DROP FUNCTION IF EXISTS pybootd.save;
    DROP FUNCTION IF EXISTS pybootd.write;
    """,
)

# The functions, which ``migrate_database`` makes again each time.
FUNCTIONS = """
    CREATE OR REPLACE FUNCTION pybootd.now() RETURNS double precision LANGUAGE sql VOLATILE AS
        $$ SELECT extract(epoch FROM clock_timestamp())::double precision $$;

    -- take turns with every other writer until the transaction ends
    CREATE OR REPLACE FUNCTION pybootd.take_turn() RETURNS void LANGUAGE sql VOLATILE AS
        $$ SELECT pg_advisory_xact_lock(hashtext('pybootd.lease')) $$;

    -- Write the leases of many requests: ``groups`` numbers the request of each, and those of one
    -- request are written together or not at all. A lease may be written if its row is as the
    -- daemon knew it (``known``: its version, 0: none), or is its owner's anyway, and its owner has
    -- no other in the network (``nets``). An offer never undoes a lease that runs at ``moment``.
    -- Returns the numbers of requests that failed.
    CREATE OR REPLACE FUNCTION pybootd.write(
        who text, moment double precision, groups integer[], addresses bigint[], owners bytea[],
        macs bytea[], ids bytea[], states text[], ends double precision[],
        times double precision[], names text[], uuids uuid[], boots boolean[], known bigint[],
        nets cidr[]
    ) RETURNS integer[] LANGUAGE plpgsql VOLATILE AS $$
    DECLARE
        failed integer[] := '{}';
        written boolean := false;
        first integer := 1;
        last integer;
        count integer := coalesce(array_length(groups, 1), 0);
        good boolean;
        place inet;
        held pybootd.lease%ROWTYPE;
        freed inet[];
    BEGIN
        WHILE first <= count LOOP
            last := first;
            WHILE last < count AND groups[last + 1] = groups[first] LOOP
                last := last + 1;
            END LOOP;
            good := true;
            freed := '{}';
            FOR i IN first .. last LOOP
                place := '0.0.0.0'::inet + addresses[i];
                SELECT * INTO held FROM pybootd.lease WHERE address = place;
                IF states[i] IN ('offered', 'bound') THEN
                    good := held.address IS NULL OR held.state = 'free'
                        OR held.owner = owners[i] OR held.version = known[i];
                    IF good AND held.owner IS DISTINCT FROM owners[i] THEN
                        good := NOT EXISTS (
                            SELECT FROM pybootd.lease
                            WHERE owner = owners[i] AND address <<= nets[i]
                                AND NOT address = ANY (freed));
                    END IF;
                ELSIF states[i] = 'released' THEN
                    good := held.owner = owners[i] AND held.version = known[i];
                ELSE
                    good := held.address IS NULL OR held.state = 'free'
                        OR held.version = known[i];
                    freed := freed || place;
                END IF;
                good := coalesce(good, false);
                EXIT WHEN NOT good;
            END LOOP;
            IF NOT good THEN
                failed := failed || groups[first];
            ELSE
                FOR i IN first .. last LOOP
                    place := '0.0.0.0'::inet + addresses[i];
                    IF states[i] = 'offered' THEN
                        CONTINUE WHEN EXISTS (
                            SELECT FROM pybootd.lease WHERE address = place AND owner = owners[i]
                                AND (state = 'bound' AND coalesce(expires, 'Infinity') > moment
                                     OR state = 'released'
                                     OR state = 'offered' AND expires > moment + 30));
                    END IF;
                    INSERT INTO pybootd.lease VALUES (
                        place, owners[i], macs[i], ids[i], states[i], ends[i], times[i], names[i],
                        uuids[i], boots[i], nextval('pybootd.lease_version'), who)
                    ON CONFLICT (address) DO UPDATE SET
                        owner = excluded.owner, mac = excluded.mac,
                        client_id = excluded.client_id, state = excluded.state,
                        expires = excluded.expires, seconds = excluded.seconds,
                        hostname = excluded.hostname, uuid = excluded.uuid,
                        booted = excluded.booted, version = excluded.version,
                        writer = excluded.writer;
                    written := true;
                END LOOP;
            END IF;
            first := last + 1;
        END LOOP;
        IF written THEN
            PERFORM pg_notify('pybootd', who);
            -- an offer that a crash of the database loses is asked for once more, and costs no disk
            IF NOT (states && '{bound,released,declined,free}') THEN
                PERFORM set_config('synchronous_commit', 'off', true);
            END IF;
        END IF;
        RETURN failed;
    END $$;

    -- One round trip for a batch: write, and tell what has happened since ``since``, own writes
    -- with it, and all that stood in the way of what failed. kind: 'clock' (ends: the database's
    -- clock, times: its drift), 'failed' (version: the request's number), 'lease'. A plan that was
    -- made while the table was small must not read all of it for ever; the price that forbids that
    -- would have it compiled.
    CREATE OR REPLACE FUNCTION pybootd.save(
        since bigint, who text, moment double precision, groups integer[], addresses bigint[],
        owners bytea[], macs bytea[], ids bytea[], states text[], ends double precision[],
        times double precision[], names text[], uuids uuid[], boots boolean[], known bigint[],
        nets cidr[]
    ) RETURNS TABLE (
        kind text, version bigint, address bigint, owner bytea, mac bytea, client_id bytea,
        state text, expires double precision, seconds double precision, hostname text, uuid uuid,
        booted boolean, writer text
    ) LANGUAGE plpgsql VOLATILE
    SET enable_seqscan = off SET jit = off AS $$
    DECLARE
        failed integer[] := '{}';
        places inet[] := '{}';
        wanted bytea[] := '{}';
    BEGIN
        IF array_length(groups, 1) > 0 THEN
            PERFORM pybootd.take_turn();
            failed := pybootd.write(who, moment, groups, addresses, owners, macs, ids, states,
                                    ends, times, names, uuids, boots, known, nets);
        END IF;
        RETURN QUERY SELECT 'clock', 0::bigint, 0::bigint, NULL::bytea, NULL::bytea, NULL::bytea,
            '', pybootd.now(), drift, '', NULL::uuid, false, '' FROM pybootd.clock;
        IF array_length(failed, 1) > 0 THEN
            RETURN QUERY SELECT 'failed', number::bigint, 0::bigint, NULL::bytea, NULL::bytea,
                NULL::bytea, '', 0::double precision, 0::double precision, '', NULL::uuid, false,
                '' FROM unnest(failed) AS number;
            SELECT array_agg('0.0.0.0'::inet + addresses[i]), array_agg(owners[i])
                INTO places, wanted
                FROM generate_subscripts(groups, 1) AS i WHERE groups[i] = ANY (failed);
        END IF;
        RETURN QUERY SELECT 'lease', l.version, l.address - '0.0.0.0'::inet, l.owner, l.mac,
            l.client_id, l.state, l.expires, l.seconds, l.hostname, l.uuid, l.booted, l.writer
            FROM pybootd.lease AS l
            WHERE l.version > since ORDER BY l.version;
        IF array_length(failed, 1) > 0 THEN
            RETURN QUERY SELECT 'lease', l.version, l.address - '0.0.0.0'::inet, l.owner, l.mac,
                l.client_id, l.state, l.expires, l.seconds, l.hostname, l.uuid, l.booted, l.writer
                FROM pybootd.lease AS l
                WHERE l.version <= since AND (l.address = ANY (places) OR l.owner = ANY (wanted));
        END IF;
    END $$;
"""


def list_steps(before: int) -> tuple[str, ...]:
    """Return what makes a database of version ``before`` one of this version; 0: an empty one."""
    return (*STEPS[before:], FUNCTIONS) if before < VERSION else ()
