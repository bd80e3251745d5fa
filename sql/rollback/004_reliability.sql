ALTER TABLE call_records DROP COLUMN analysis_state;
ALTER TABLE call_records DROP COLUMN details_ranks;
ALTER TABLE stage_runs DROP COLUMN vendor;
DROP TABLE vendor_circuits;
