"""Customary names of columns and tables, and the column that a table has for each purpose."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

USERS: Final = (
    "visitorid userid user customerid customer clientid client householdid memberid buyerid shopperid personid uid "
    "accountid custid customernumber customerno customeruniqueid cardid reviewerid username useruid visitor member "
    "buyer userpseudoid anonymousid fullvisitorid useruuid customeruuid userkey customerkey householdkey usercode "
    "customercode userhash customerhash loyaltyid cardno email useremail customeremail emailbilling billingemail"
)
ITEMS: Final = (
    "itemid item productid product sku skuid stockcode articleid article movieid trackid songid bookid isbn asin "
    "parentasin goodsid materialid contentid newsid listingid offerid productcode itemcode articlecode productsku upc "
    "ean gtin prodid businessid gameid recipeid videoid productuuid itemuuid productkey itemkey productno itemno "
    "articleno productnumber itemnumber articlenumber partnumber variantid lineitemsku courseid documentid "
    "restaurantid hotelid albumid artistid"
)
TIMES: Final = (
    "timestamp eventtime eventtimestamp time ts datetime eventdate eventdatetime invoicedate transactiondt "
    "transactiondate transactiontime transactiontimestamp tdat orderdate ordertime orderedat ordertimestamp "
    "purchasedate purchasetime purchasedat orderpurchasetimestamp createdat createdate created timecreated occurredat "
    "unixreviewtime timestampms timestamputc unixtime epoch servertime eventts logtime visittime clicktime viewtime "
    "ratingtimestamp reviewtime viewedat addedat paidat soldat orderdatetime purchasedatetime invoicedatetime orderts "
    "createdts createdon createtime createdtime creationdate datecreated date day purchaseday saledate salesdate "
    "salestime"
)
EVENTS: Final = (
    "event eventtype eventname behaviortype behaviourtype behavior behaviour action actiontype interaction "
    "interactiontype activitytype usereventtype"
)
ORDERS: Final = (
    "transactionid orderid invoiceno invoice invoiceid invoicenumber basketid ordernumber orderno receiptid receiptno "
    "ticketid purchaseid billno billid checkid saleid salesorderid orderuuid"
)
AMOUNTS: Final = (
    "quantity qty amount units unitssold itemsold price unitprice salesprice saleprice sales salesvalue revenue total "
    "totalprice orderamount totalsales cost purchaseamount"
)
CATEGORIES: Final = (
    "categoryid category categorycode categoryname productcategory productcategoryid itemcategory itemcategoryid "
    "subcategory subcategoryid producttypename producttype department departmentname maincategory genres genre"
)
ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "user": tuple(USERS.split()),
    "item": tuple(ITEMS.split()),
    "time": tuple(TIMES.split()),
    "event": tuple(EVENTS.split()),
    "order": tuple(ORDERS.split()),
    "amount": tuple(AMOUNTS.split()),
    "category": tuple(CATEGORIES.split()),
    "available": ("available", "isavailable", "availability", "instock", "active", "isactive"),
    "property": ("property", "propertyname", "attribute", "attributename"),
    "value": ("value", "propertyvalue", "attributevalue"),
    "parent": ("parentid", "parent", "parentcategoryid", "parentcategory"),
}
"""Customary names for each purpose, the most telling first; see `plain`. `amount` tells that a row is a purchase."""

EVENT_NAMES: Final = (
    *("events", "event", "interactions", "clickstream", "transactions", "transaction", "orders", "purchases", "sales"),
    *("ratings", "reviews", "logs", "log", "clicks", "behavior", "behaviors", "actions", "train"),
)
"""Customary names of the table of events; see `plain`."""
ITEM_NAMES: Final = (
    *("items", "item", "products", "product", "articles", "article", "catalog", "catalogue", "itemmetadata"),
    *("metadata", "meta", "movies", "itemfeatures"),
)
"""Customary names of a table with a row for each item."""
USER_NAMES: Final = ("users", "user", "customers", "customer", "members", "visitors")
"""Customary names of a table with a row for each user, which is not read."""


def plain(name: str) -> str:
    """The name in lower case without anything but letters and digits: `Customer ID` is `customerid`."""
    return re.sub(r"[\W_]+", "", name.casefold())


def customary(names: Sequence[str], purpose: str) -> list[str]:
    """The columns with a customary name for a purpose, the most telling name first.

    A nested column such as `user.id` goes by its whole name, else by the name of its last part.
    """
    spelled = [(spell(name), name) for spell in (plain, _inner) for name in names]
    matches = [name for alias in ALIASES[purpose] for text, name in spelled if text == alias]
    return list(dict.fromkeys(matches))


def alike(names: Sequence[str]) -> list[str]:
    """The first name and those that differ from it in spelling only, such as `user_id` and `userId`."""
    return [name for name in names if plain(name) == plain(names[0])]


def _inner(name: str) -> str:
    """The plain name of the last part of a nested column; "" for a column that is not nested."""
    outer, _, inner = name.rpartition(".")
    return plain(inner) if outer else ""
