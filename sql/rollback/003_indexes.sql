DROP INDEX audit_log_by_time;
DROP INDEX dead_letters_by_state;
DROP INDEX stage_runs_by_state;
DROP INDEX processing_requests_by_state;
DROP INDEX processing_requests_by_call;
DROP INDEX call_records_by_score;
DROP INDEX call_records_by_start;
DROP INDEX tenant_routes_by_value;
