"""Filters and rules of a shop, over arrays; no Ray. Every list of the service and of the batches goes through them.

The parts:

    RequestRules   (request.py)   filters and rules of one request, checked by pydantic
    RulesFile      (file.py)      the shop's rules file: named rules, each for a time span and a fraction of the users
    BatchRules     (batch.py)     everything that holds for a batch of requests; it travels between the stages
    RuleBook       (book.py)      what a version knows of its items, with compiled rules; `Recommender.rules`
    Programs       (programs.py)  the compiled rules of one batch: masks, fill-up, order

A stage that makes lists uses them in this way. `rules` is None where no request has any rule: then nothing changes.

    rules = BatchRules.build(requests, n, user_ids, rules_file, now)      # RequestRules or None for each request
    programs = recommender.rules.programs(rules, histories)               # raises RuleError, see `check` below

    allowed = programs.allows(users, items)                  # filters and availability, before proposals are cut
    more = programs.additions(pool)                          # pins and the fill-up: pairs that must be ranked as well
    arranged = programs.arrange(users, items, scores)        # boosts, burials, diversity, caps, pins
    items[arranged.rows]                                     # the lists, user after user, best first
    arranged.lengths                                         # int64 (n_users,), at most n of each request

`users` are int64 positions in the batch, `items` int32 codes of the version, `scores` float64 on [0, 1]. Scores are
never changed: boosts and burials move the order alone. `histories` has the events of each request's user, or of the
session; it decides about `exclude_seen` and `exclude_purchased`. Requests without a user have empty rows.

`recommender.rules.check(request)` raises RuleError for a filter that this version cannot apply; the service answers 400
with its text. `programs.note(user)` tells why a list is empty. `programs.names(users, items)` names the rules of the
file that moved an item.

The order of application: filters, availability, candidates, ranking, boosts and burials, diversity and caps, pins.
"""
