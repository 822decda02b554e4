import java.io.StringReader;
import java.io.StringWriter;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

/** JDBC: what an application does with it. Every check throws; the environment says where the server is. */
final class Jdbc {
    private static final int THREADS = 20;
    private static final int ROUNDS = 15;

    private interface Doing {
        void run() throws Exception;
    }

    private Jdbc() {}

    public static void main(String[] arguments) throws Exception {
        for (String threshold : List.of("1", "5", "0")) {
            System.out.println("prepareThreshold " + threshold);
            try (Connection connection = connect(threshold)) {
                statements(connection);
                batches(connection);
                transactions(connection);
                cursors(connection);
                copying(connection);
                notifications(connection);
                settings(connection);
                changedTables(connection);
            }
            concurrency(threshold);
        }
    }

    private static Connection connect(String threshold) throws SQLException {
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/"
                + System.getenv("PGDATABASE");
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        properties.setProperty("prepareThreshold", threshold);
        properties.setProperty("ApplicationName", "jdbc " + threshold);
        return DriverManager.getConnection(url, properties);
    }

    private static void check(boolean isSo, Object found) {
        if (!isSo) {
            throw new AssertionError("found " + found);
        }
    }

    private static void fails(String sqlstate, Doing doing) throws Exception {
        try {
            doing.run();
        } catch (SQLException error) {
            check(sqlstate.equals(error.getSQLState()), error);
            return;
        }
        throw new AssertionError("it should have failed with " + sqlstate);
    }

    private static void run(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    private static String value(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(sql)) {
            rows.next();
            return rows.getString(1);
        }
    }

    private static void statements(Connection connection) throws Exception {
        try (PreparedStatement plus = connection.prepareStatement("SELECT ? + 1, ?");
                PreparedStatement divide = connection.prepareStatement("SELECT 1 / ?")) {
            for (int n = 0; n < 12; n++) {
                plus.setInt(1, n);
                plus.setString(2, "text " + n);
                try (ResultSet rows = plus.executeQuery()) {
                    rows.next();
                    check(rows.getInt(1) == n + 1 && rows.getString(2).equals("text " + n), rows.getString(2));
                }
                divide.setInt(1, n % 2);
                if (n % 2 == 0) {
                    fails("22012", divide::executeQuery);
                } else {
                    divide.executeQuery().close();
                }
            }
            check(plus.getMetaData().getColumnCount() == 2, plus);
        }
        check(connection.getMetaData().getTables(null, "public", "items", null).next(), "no table");
    }

    private static void batches(Connection connection) throws Exception {
        run(connection, "CREATE TABLE batched (n int PRIMARY KEY, t text)");
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO batched VALUES (?, ?)")) {
            for (int n = 0; n < 500; n++) {
                insert.setInt(1, n);
                insert.setString(2, "t" + n);
                insert.addBatch();
            }
            check(insert.executeBatch().length == 500, "not all");
            insert.setInt(1, 1000);
            insert.setString(2, "new");
            insert.addBatch();
            insert.setInt(1, 7);
            insert.addBatch();
            fails("23505", insert::executeBatch);
        }
        check(value(connection, "SELECT count(*) FROM batched").equals("500"), "the failed batch");
        run(connection, "DROP TABLE batched");
    }

    private static void transactions(Connection connection) throws Exception {
        run(connection, "CREATE TABLE notes (id int PRIMARY KEY)");
        connection.setAutoCommit(false);
        run(connection, "INSERT INTO notes VALUES (1)");
        Savepoint savepoint = connection.setSavepoint();
        fails("23505", () -> run(connection, "INSERT INTO notes VALUES (1)"));
        fails("25P02", () -> run(connection, "SELECT 1"));
        connection.rollback(savepoint);
        connection.commit();
        run(connection, "INSERT INTO notes VALUES (2)");
        connection.rollback();
        connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        connection.setReadOnly(true);
        check(value(connection, "SHOW transaction_isolation").equals("serializable"), "isolation");
        fails("25006", () -> run(connection, "INSERT INTO notes VALUES (3)"));
        connection.rollback();
        connection.setReadOnly(false);
        connection.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        connection.setAutoCommit(true);
        check(value(connection, "SELECT count(*) FROM notes").equals("1"), "rows");
        run(connection, "DROP TABLE notes");
    }

    private static void cursors(Connection connection) throws Exception {
        connection.setAutoCommit(false);
        try (PreparedStatement select =
                connection.prepareStatement("SELECT n FROM generate_series(1, ?) n")) {
            for (int turn = 0; turn < 3; turn++) {
                select.setFetchSize(30);
                select.setInt(1, 200);
                int total = 0;
                try (ResultSet rows = select.executeQuery()) {
                    while (rows.next()) {
                        total += rows.getInt(1);
                    }
                }
                check(total == 20100, total);
                connection.commit();
            }
        }
        connection.setAutoCommit(true);
    }

    private static void copying(Connection connection) throws Exception {
        run(connection, "CREATE TABLE copied (n int, t text)");
        var copy = connection.unwrap(PGConnection.class).getCopyAPI();
        StringBuilder lines = new StringBuilder();
        for (int n = 0; n < 2000; n++) {
            lines.append(n).append("\trow ").append(n).append('\n');
        }
        check(copy.copyIn("COPY copied FROM STDIN", new StringReader(lines.toString())) == 2000, "rows");
        StringWriter out = new StringWriter();
        check(copy.copyOut("COPY (SELECT * FROM copied ORDER BY n) TO STDOUT", out) == 2000, "rows");
        check(out.toString().equals(lines.toString()), "other rows");
        fails("22P02", () -> copy.copyIn("COPY copied FROM STDIN", new StringReader("wrong\tx\n")));
        run(connection, "DROP TABLE copied");
    }

    private static void notifications(Connection connection) throws Exception {
        run(connection, "LISTEN news");
        try (Connection other = connect("1")) {
            run(other, "NOTIFY news, 'one'");
        }
        PGConnection listener = connection.unwrap(PGConnection.class);
        PGNotification[] heard = listener.getNotifications(20_000);
        check(heard != null && heard.length == 1 && heard[0].getParameter().equals("one"), heard);
        run(connection, "UNLISTEN *");
    }

    private static void settings(Connection connection) throws Exception {
        String before = value(connection, "SHOW search_path");
        run(connection, "SET TIME ZONE 'Asia/Tokyo'");
        connection.setSchema("other");
        for (int n = 0; n < 5; n++) {
            check(value(connection, "SHOW TimeZone").equals("Asia/Tokyo"), "zone");
            check(value(connection, "SHOW search_path").equals("other"), "path");
        }
        check(value(connection, "SHOW application_name").startsWith("jdbc"), "name");
        connection.setClientInfo("ApplicationName", "renamed");
        check(value(connection, "SHOW application_name").equals("renamed"), "name");
        run(connection, "RESET ALL");
        check(value(connection, "SHOW search_path").equals(before), "path");
        run(connection, "DISCARD ALL");
        run(connection, "CREATE TEMP TABLE basket AS SELECT 5 AS n");
        check(value(connection, "SELECT n FROM basket").equals("5"), "basket");
        run(connection, "DROP TABLE basket");
    }

    private static void changedTables(Connection connection) throws Exception {
        run(connection, "CREATE TABLE changing AS SELECT 1 AS a");
        try (PreparedStatement select = connection.prepareStatement("SELECT * FROM changing")) {
            for (int n = 0; n < 8; n++) {
                select.executeQuery().close();
            }
            run(connection, "ALTER TABLE changing ADD b int");
            try (ResultSet rows = select.executeQuery()) {
                rows.next();
                check(rows.getMetaData().getColumnCount() == 2, "columns");
            }
        }
        run(connection, "DROP TABLE changing");
    }

    private static void concurrency(String threshold) throws Exception {
        try (Connection connection = connect(threshold)) {
            run(connection, "CREATE TABLE accounts AS SELECT id, 100 AS balance FROM generate_series(0, 9) id");
            ExecutorService executor = Executors.newFixedThreadPool(THREADS);
            List<Callable<Void>> tellers = new ArrayList<>();
            for (int n = 0; n < THREADS; n++) {
                final int number = n;
                tellers.add(() -> teller(threshold, number));
            }
            for (Future<Void> done : executor.invokeAll(tellers)) {
                done.get();
            }
            executor.shutdown();
            check(value(connection, "SELECT sum(balance) FROM accounts").equals("1000"), "sum");
            run(connection, "DROP TABLE accounts");
        }
    }

    private static Void teller(String threshold, int number) throws Exception {
        try (Connection connection = connect(threshold);
                PreparedStatement change =
                        connection.prepareStatement("UPDATE accounts SET balance = balance + ? WHERE id = ?")) {
            connection.setAutoCommit(false);
            for (int turn = 0; turn < ROUNDS; turn++) {
                int one = (number + turn) % 10;
                int other = (number * 3 + turn * 7) % 10;
                // In one order, so that nobody deadlocks.
                for (int account : new int[] {Math.min(one, other), Math.max(one, other)}) {
                    change.setInt(1, account == one ? turn : -turn);
                    change.setInt(2, account);
                    check(one == other || change.executeUpdate() == 1, "rows");
                }
                if (turn % 5 == 4) {
                    connection.rollback();
                } else {
                    connection.commit();
                }
            }
        }
        return null;
    }
}
