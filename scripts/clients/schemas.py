"""Schemas as programs send them, each with what is asked; every length has a bound, so that an answer
has an end whatever a model writes."""

TEXT = {"type": "string", "maxLength": 24}


def thing(**properties):
    """An object with all of these and nothing else."""
    return {"type": "object", "properties": properties, "required": list(properties),
            "additionalProperties": False}


def several(items, most, least=0):
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


SCHEMAS = {
    "flat": ("a bird", thing(name=TEXT, legs={"type": "integer", "minimum": 0, "maximum": 9})),
    "kinds": ("a small parcel", thing(
        label=TEXT, weight_kg={"type": "number", "minimum": 0, "maximum": 30},
        is_fragile={"type": "boolean"}, note={"type": "null"})),
    "enum": ("tomorrow's weather", thing(
        sky={"enum": ["clear", "cloudy", "rain", "snow"]},
        wind={"enum": [0, 1, 2, 3, None]}, unit={"const": "celsius"})),
    "nested": ("a person with an address", thing(
        name=TEXT, address=thing(street=TEXT, town=thing(
            name=TEXT, code={"type": "string", "pattern": "^[0-9]{4,5}$"})))),
    "array of objects": ("a shopping list", thing(items=several(thing(
        name=TEXT, n={"type": "integer", "minimum": 1, "maximum": 12}), 3, 1))),
    "numbers with bounds": ("a point on earth", thing(
        latitude={"type": "number", "minimum": -90, "maximum": 90},
        longitude={"type": "number", "exclusiveMinimum": -180, "maximum": 180},
        height_m={"type": "integer", "minimum": -430, "maximum": 8849},
        step={"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 100})),
    "anyOf": ("how to pay", thing(way={"anyOf": [
        thing(kind={"const": "card"}, digits={"type": "string", "pattern": "^[0-9]{4}$"}),
        thing(kind={"const": "cash"}),
        thing(kind={"const": "transfer"}, days={"type": "integer", "minimum": 1, "maximum": 30})]})),
    "oneOf by kind": ("a pet", {
        "$defs": {
            "Cat": thing(kind={"const": "cat"}, lives={"type": "integer", "minimum": 1, "maximum": 9}),
            "Dog": thing(kind={"const": "dog"}, name=TEXT)},
        **thing(pet={"oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]})}),
    "$defs": ("two towns and the way between them", {
        "$defs": {"Town": thing(name=TEXT, n_people={"type": "integer", "minimum": 0, "maximum": 10**7})},
        **thing(**{"from": {"$ref": "#/$defs/Town"}, "to": {"$ref": "#/$defs/Town"},
                   "km": {"type": "number", "minimum": 0, "maximum": 20000}})}),
    "recursive": ("folders in folders", {
        "$defs": {"Folder": thing(
            name={"type": "string", "maxLength": 8},
            folders=several({"$ref": "#/$defs/Leaf"}, 2)),
            "Leaf": thing(name={"type": "string", "maxLength": 8})},
        "$ref": "#/$defs/Folder"}),
    "optional": ("a contact", {
        "type": "object",
        "properties": {"name": TEXT, "age": {"type": "integer", "minimum": 0, "maximum": 130},
                       "nick": TEXT, "town": TEXT},
        "required": ["name"], "additionalProperties": False}),
    "nullable": ("a book, whose author is perhaps unknown", thing(
        title=TEXT, author={"anyOf": [TEXT, {"type": "null"}]},
        year={"type": ["integer", "null"], "minimum": 1000, "maximum": 2030})),
    "formats": ("an event", thing(
        day={"type": "string", "format": "date"}, at={"type": "string", "format": "time"},
        id={"type": "string", "format": "uuid"})),
    "pattern": ("a flight", thing(
        number={"type": "string", "pattern": "^[A-Z]{2}[0-9]{1,4}$"},
        gate={"type": "string", "pattern": "^[A-F][1-9][0-9]?$"})),
    "tuple": ("a colour as hue, saturation and a word", {
        "type": "array", "items": False, "minItems": 3, "maxItems": 3, "prefixItems": [
            {"type": "integer", "minimum": 0, "maximum": 359},
            {"type": "number", "minimum": 0, "maximum": 1}, TEXT]}),
    "list": ("three fruits", several(TEXT, 3, 1)),
    "matrix": ("a 2 by 2 matrix of small numbers", several(
        several({"type": "integer", "minimum": -9, "maximum": 9}, 2, 2), 2, 2)),
    "map": ("ages by name", {
        "type": "object", "maxProperties": 3, "additionalProperties": False,
        "patternProperties": {"^[A-Za-z]{1,12}$": {"type": "integer", "minimum": 0, "maximum": 130}}}),
    "allOf": ("a shirt", {
        "$defs": {"Size": {"enum": ["S", "M", "L"]}},
        **thing(size={"allOf": [{"$ref": "#/$defs/Size"}], "description": "of the shirt"},
                colour={"enum": ["red", "grün", "青"]})}),
    "as pydantic writes it": ("an order", {
        "$defs": {
            "Line": {"title": "Line", **thing(
                product={"title": "Product", **TEXT},
                price={"title": "Price", "type": "number", "exclusiveMinimum": 0, "maximum": 999})},
            "State": {"title": "State", "enum": ["new", "paid", "sent"], "type": "string"}},
        "title": "Order", "description": "An order of a shop.",
        **thing(state={"$ref": "#/$defs/State"}, lines=several({"$ref": "#/$defs/Line"}, 2, 1),
                comment={"anyOf": [TEXT, {"type": "null"}], "default": None, "title": "Comment"})}),
}
