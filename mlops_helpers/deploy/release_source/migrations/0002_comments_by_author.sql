-- How many comments each author has written, counted by a trigger.
CREATE TABLE authors (author TEXT PRIMARY KEY, comments INTEGER NOT NULL) STRICT;
INSERT INTO authors SELECT author, count(*) FROM comments GROUP BY author;
CREATE TRIGGER count_by_author AFTER INSERT ON comments
BEGIN
    INSERT INTO authors VALUES (new.author, 1) ON CONFLICT DO UPDATE SET comments = comments + 1;
END;
