DROP TRIGGER count_by_author;
DROP TABLE authors;
