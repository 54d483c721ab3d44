-- Returns the time, in milliseconds since the epoch.
return now
